"""Commands that are interrupted or killed, and what the next one makes of that; and what a terminal shows."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from polar_sync.testing import FakePolar, FakePolarServer, Fault
from tests.management.commands import PATIENCE, Site, wait_until
from tests.services import PROJECT

CUSTOMERS = 130


@pytest.fixture
def site(tmp_path: Path, migrated_database: Path) -> Iterator[Site]:
    with FakePolarServer(FakePolar.generate(seed=1, customers=CUSTOMERS)) as server:
        yield Site(server, Path(shutil.copy(migrated_database, tmp_path)))


def wait_for_states(site: Site, number: int) -> None:
    wait_until(lambda: site.server.polar.counts["customers:get_state"] >= number)


def slow_down(site: Site) -> None:
    site.server.polar.faults.add(Fault(kind="latency", seconds=0.1, times=None, operation="customers:get_state"))


def test_interrupted_command_says_so_and_the_next_continues_without_asking_again(site: Site) -> None:
    slow_down(site)
    process = site.start("polar_sync")
    wait_for_states(site, 30)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Interrupted. Run 1 of default is kept where it is" in errors
    assert "Traceback" not in errors
    assert site.server.polar.access_token not in output + errors
    ((kept,),) = site.query("SELECT count(*) FROM polar_sync_customer")
    assert kept >= 20
    asked = site.server.polar.counts["customers:get_state"]
    site.server.polar.faults.clear()

    ended = site.run("polar_sync", "--json")
    line = json.loads(ended.stdout)
    assert (ended.returncode, line["run"], line["status"]) == (0, 1, "succeeded")
    assert line["listed"] == line["created"] == CUSTOMERS
    # What was under way when Ctrl-C came was asked for, and is asked for once more.
    assert site.server.polar.counts["customers:get_state"] <= CUSTOMERS + asked - kept


def test_interrupted_command_does_not_wait_for_an_answer_that_does_not_come(site: Site) -> None:
    site.server.polar.faults.add(Fault(kind="latency", seconds=8, operation="customers:get_state", times=None))
    process = site.start("polar_sync")
    wait_until(lambda: site.server.polar.counts["customers:list"] >= 1)
    wait_until(lambda: site.query("SELECT count(*) FROM polar_sync_syncpage WHERE lease_token IS NOT NULL") == [(1,)])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == 130


def test_killed_command_is_continued_after_its_lease_and_not_before(site: Site) -> None:
    slow_down(site)
    process = site.start("polar_sync")
    wait_for_states(site, 110)
    process.kill()
    process.communicate(timeout=PATIENCE)
    site.server.polar.faults.clear()

    refused = site.run("polar_sync", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["status"]) == (3, "refused")
    site.expire_leases()
    ended = site.run("polar_sync", "--json")
    line = json.loads(ended.stdout)
    assert (ended.returncode, line["run"], line["status"]) == (0, 1, "succeeded")
    assert line["listed"] == line["created"] == CUSTOMERS
    asked = [request.path for request in site.server.polar.requests if request.operation == "customers:get_state"]
    # The first hundred are a page that was done before the kill.
    assert Counter(asked[:100]) == Counter(set(asked[:100]))
    assert not set(asked[:100]) & set(asked[100:])


def test_terminal_shows_a_bar(site: Site) -> None:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 100, 0, 0))
    process = subprocess.Popen(
        site.build_command("polar_sync"),
        cwd=PROJECT,
        env=site.build_environment(),
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    shown = b""
    try:
        while piece := os.read(reader, 65536):
            shown += piece
    except OSError:  # the other end of the terminal is closed
        pass
    finally:
        os.close(reader)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    text = shown.decode()
    assert "default: 100%" in text
    assert f"{CUSTOMERS}/{CUSTOMERS}" in text
    assert " customers/s" in text
    assert "succeeded" in output
    assert site.server.polar.access_token not in text + output


def test_log_shows_no_bar(site: Site) -> None:
    ended = site.run("polar_sync")
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 1


def test_configuration_error_exits_the_process_with_2(site: Site) -> None:
    ended = site.run("polar_sync", "--organization", "nobody")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
