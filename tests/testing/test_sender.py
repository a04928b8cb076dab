from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import threading
import time

import pytest

from polar_sync.testing.sender import Response, Sender, post, sign
from tests.testing.receiver import Receiver

SECRET = "whsec_" + "a" * 40


@pytest.mark.parametrize(("status", "is_success"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_nothing_but_2xx_is_a_success(receiver: Receiver, status: int, is_success: bool) -> None:
    receiver.answer = lambda _: status
    response = post(receiver.url, {"content-type": "application/json"}, b'{"type":"x"}', 5.0)
    assert (response.status, response.is_success) == (status, is_success)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: status
    receiver.location = receiver.url
    assert post(receiver.url, {}, b"{}", 5.0) == Response(status, "thank you")
    assert len(receiver.received) == 1


def test_receiver_that_nobody_runs_is_no_status_and_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    response = post(f"http://127.0.0.1:{port}/", {}, b"{}", 5.0)
    assert response.status is None
    assert "refused" in str(response.text)


def test_receiver_that_says_nothing_in_time_is_no_status() -> None:
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        response = post(f"http://127.0.0.1:{silent.getsockname()[1]}/", {}, b"{}", 0.05)
    assert (response.status, response.is_success) == (None, False)
    assert "timed out" in str(response.text)
    assert time.monotonic() - started < 5.0


def test_signature_is_keyed_with_the_whole_text_of_the_secret() -> None:
    digest = hmac.new(SECRET.encode(), b'id.12.{"a":"\xc3\xa9"}', hashlib.sha256).digest()
    assert sign(SECRET, event_id="id", timestamp=12, body='{"a":"é"}') == f"v1,{base64.b64encode(digest).decode()}"


def test_tasks_run_in_the_order_in_which_they_are_due() -> None:
    sender = Sender()
    done: list[str] = []
    for name, delay in (("late", 0.1), ("first", 0.0), ("second", 0.0), ("between", 0.05)):
        sender.put(lambda name=name: done.append(name), owner=None, delay=delay)  # type: ignore[misc]
    sender.wait(5.0)
    assert done == ["first", "second", "between", "late"]


def test_waiting_ends_in_a_timeout_that_says_how_many_are_left() -> None:
    sender = Sender()
    sender.put(lambda: None, owner=None, delay=60.0)
    with pytest.raises(TimeoutError, match=r"1 deliveries are still pending after 0\.02 seconds"):
        sender.wait(0.02)
    sender.stop()


def test_sender_has_no_thread_when_nothing_is_pending() -> None:
    sender = Sender()
    before = threading.active_count()
    sender.put(lambda: None, owner=None)
    sender.wait(5.0)
    deadline = time.monotonic() + 5.0
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_stopped_sender_keeps_what_is_pending_until_it_goes_on() -> None:
    sender = Sender()
    done: list[int] = []
    sender.stop()
    sender.put(lambda: done.append(1), owner=None)
    time.sleep(0.05)
    assert done == []
    sender.start()
    sender.wait(5.0)
    assert done == [1]


def test_what_was_dropped_is_not_run() -> None:
    sender = Sender()
    sender.is_background = False
    done: list[str] = []
    mine, other = object(), object()
    sender.put(lambda: done.append("mine"), owner=mine)
    sender.put(lambda: done.append("other"), owner=other)
    sender.drop(mine)
    sender.drain()
    assert done == ["other"]


def test_without_a_background_tasks_run_in_the_thread_that_drains_without_waiting() -> None:
    sender = Sender()
    sender.is_background = False
    threads: list[threading.Thread] = []
    sender.put(lambda: threads.append(threading.current_thread()), owner=None, delay=3600.0)
    sender.wait(0.0)
    assert threads == [threading.current_thread()]


def test_several_workers_run_tasks_at_once() -> None:
    sender = Sender()
    sender.workers = 3
    together = threading.Barrier(3, timeout=5.0)
    for _ in range(3):
        sender.put(together.wait, owner=None)
    sender.wait(5.0)
    assert sender.errors == []


def test_error_in_a_task_is_kept_and_the_next_one_runs() -> None:
    sender = Sender()
    done: list[int] = []
    sender.put(lambda: 1 / 0, owner=None)
    sender.put(lambda: done.append(1), owner=None)
    sender.wait(5.0)
    assert [type(one) for one in sender.errors] == [ZeroDivisionError]
    assert done == [1]
