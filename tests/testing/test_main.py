from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import requests


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
