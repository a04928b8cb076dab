"""The embedded broker under a reader that never rests."""

import threading
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from project.broker import Transport

MESSAGES = 60
# Long enough that a message is not written in one go.
PADDING = "x" * 300_000


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "messages").mkdir()
    folder = str(tmp_path / "messages")
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": str(tmp_path / "control")}
    return {"hostname": "filesystem://localhost//", "transport": Transport, "transport_options": options}


def send_all(options: dict[str, Any]) -> None:
    with Connection(**options) as connection:
        queue = connection.SimpleQueue("letters")
        for number in range(MESSAGES):
            queue.put({"number": number, "padding": PADDING})
        queue.close()


def test_message_is_never_read_before_it_is_complete(options: dict[str, Any], tmp_path: Path) -> None:
    sender = threading.Thread(target=send_all, args=[options])
    received = []
    with Connection(**options) as connection:
        queue = connection.SimpleQueue("letters")
        sender.start()
        while sender.is_alive() or queue.qsize():
            try:
                message = queue.get(block=False)
            except queue.Empty:
                continue
            message.ack()
            received.append(message.payload["number"])
        queue.close()
    sender.join()
    assert sorted(received) == list(range(MESSAGES))
    assert list((tmp_path / "messages").iterdir()) == []
