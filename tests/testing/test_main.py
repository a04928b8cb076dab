from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests

from polar_sync.testing import FakePolar
from polar_sync.testing.__main__ import change_customers, main
from polar_sync.testing.random_changes import RandomChanges
from polar_sync.testing.sender import sign
from tests.testing.receiver import Receiver


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_says_where_it_serves_and_ends_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "polar_sync.testing", "--customers", "7", "--seed", "3", "--rate-limit", "2"]
    command.append("--prepare")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            headers = {"Authorization": f"Bearer {said['access_token']}"}
            statuses = [
                requests.get(f"{said['url']}/v1/customers/", headers=headers, timeout=10).status_code for _ in range(3)
            ]
        finally:
            process.send_signal(number)
            rest, errors = process.communicate(timeout=10)
    assert statuses == [200, 200, 429]
    assert (said["customers"], process.returncode, rest, errors) == (7, 0, "", "")


def test_webhook_is_told_of_changes_and_its_secret_is_said(receiver: Receiver) -> None:
    command = [sys.executable, "-m", "polar_sync.testing", "--customers", "1", "--webhook", receiver.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            requests.post(
                f"{said['url']}/v1/customers/",
                json={"email": "a@example.com"},
                headers={"Authorization": f"Bearer {said['access_token']}"},
                timeout=10,
            ).raise_for_status()
            deadline = time.monotonic() + 10
            while len(receiver.received) < 3 and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            process.terminate()
            process.communicate(timeout=10)
    assert receiver.types == ["member.created", "customer.created", "customer.state_changed"]
    one = receiver.received[0]
    signed = sign(
        said["webhook_secret"], event_id=one.id, timestamp=int(one.headers["webhook-timestamp"]), body=one.text
    )
    assert one.headers["webhook-signature"] == signed
    assert process.returncode == 0


def test_customers_change_once_somebody_listens_and_the_given_secret_signs(receiver: Receiver) -> None:
    command = [sys.executable, "-m", "polar_sync.testing", "--customers", "20", "--webhook", receiver.url]
    command += ["--webhook-secret", "whsec_chosen", "--changes", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["webhook_secret"] == "whsec_chosen"
            deadline = time.monotonic() + 30
            while receiver.types.count("customer.state_changed") < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            process.terminate()
            process.communicate(timeout=10)
    assert receiver.types.count("customer.state_changed") >= 5
    one = receiver.received[0]
    signed = sign("whsec_chosen", event_id=one.id, timestamp=int(one.headers["webhook-timestamp"]), body=one.text)
    assert one.headers["webhook-signature"] == signed
    assert process.returncode == 0


def test_nobody_changes_before_somebody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/hook"
    stopping = threading.Event()
    polar = FakePolar.generate(seed=1, customers=3)
    polar.webhooks.add_endpoint(url)
    threading.Timer(0.3, stopping.set).start()
    change_customers(RandomChanges(polar), stopping, seconds=0.01, webhook=url)
    assert polar.webhooks.events == []


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_changes_need_a_time_between_them(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--changes", seconds])
    assert "--changes: invalid" in capsys.readouterr().err
