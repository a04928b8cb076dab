from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import requests

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
