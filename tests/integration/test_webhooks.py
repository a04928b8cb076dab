"""A site that hears of changes by webhooks, while whatever it consists of is killed now and then.

The variable `POLAR_SYNC_LOAD` has it all at full length: 2,000 customers, and a minute of 50 changes a second.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.testing.sender import Response
from tests.integration.fleet import PATIENCE, Fleet, make_database, wait_until
from tests.integration.test_workers import DUMP
from tests.services import PROJECT, borrow_redis, build_environment
from tests.sync.socketless import normalize, read_polar

IS_LONG = bool(os.environ.get("POLAR_SYNC_LOAD"))
CUSTOMERS, CHANGES_PER_SECOND, SECONDS = (2_000, 50, 60) if IS_LONG else (200, 20, 8)
SECRET = "whsec_of_the_site_that_is_killed_now_and_then"
PENDING = "SELECT count(*) FROM polar_sync_webhookdelivery WHERE status = 'received'"
WAITING = "SELECT count(*) FROM polar_sync_pendingrefresh"
ASKED = "SELECT count(DISTINCT customer_id) FROM polar_sync_webhookdelivery WHERE reason LIKE '%Polar is asked.'"
FEED = "SELECT gap_since, gap_until, problem FROM polar_sync_webhookfeed"
UNWELL = "SELECT type, reason FROM polar_sync_webhookdelivery WHERE status NOT IN ('processed', 'stale', 'ignored')"


class Site:
    """A web server, a Celery worker and a follower, each a process that can be killed and started again."""

    def __init__(self, directory: Path, environment: dict[str, str], port: int) -> None:
        self._directory = directory
        self.environment = environment
        self.commands = {
            "web": ("manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"),
            "worker": ("-m", "celery", "-A", "project", "worker", "--pool", "solo", "--without-gossip"),
            "follower": ("manage.py", "polar_sync_follow", "--interval", "1"),
        }
        self._port = port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *self.commands[name]], cwd=PROJECT, env=self.environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """End it at once, if it runs: nothing is cleaned up, acknowledged or given back."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        for name in list(self._processes):
            self.kill(name)

    def wait_for_web(self) -> None:
        wait_until(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


class Changes(threading.Thread):
    """Changes customers of a server, so many a second, until the time is over."""

    def __init__(self, polar: FakePolar, *, seed: int) -> None:
        super().__init__(daemon=True)
        self._polar, self._rng = polar, random.Random(seed)
        self.errors: list[BaseException] = []

    def run(self) -> None:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                self._change()
            except (KeyError, IndexError):
                pass  # there was nothing of this kind to change
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)
            time.sleep(1 / CHANGES_PER_SECOND)

    def _change(self) -> None:
        polar, rng = self._polar, self._rng
        key = rng.choice(polar.customers)
        dice = rng.random()
        if dice < 0.1:
            polar.create_customer(name="New", email=f"new{rng.random()}@example.com")
        elif dice < 0.15:
            polar.delete_customer(key)
        elif dice < 0.35:
            polar.update_customer(key, name=f"Named {rng.random()}")
        elif dice < 0.5:
            polar.subscribe(key, rng.choice(polar.products))
        elif dice < 0.75:
            subscription = rng.choice(polar.get_state(key)["active_subscriptions"])
            rng.choice((polar.revoke, polar.cancel, polar.pause, polar.cycle))(subscription)
        elif dice < 0.85:
            polar.grant(key, rng.choice(polar.benefits))
        else:
            polar.revoke_grant(rng.choice(polar.get_state(key)["granted_benefits"]))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Site, FakePolar, psycopg.Connection[Any], Fleet]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        make_database() as database,
        borrow_redis() as broker,
        FakePolarServer() as server,
        psycopg.connect(database.replace("postgres://", "postgresql://"), autocommit=True) as connection,
    ):
        polar = server.polar
        polar.generate_customers(CUSTOMERS)
        webhooks = polar.webhooks
        webhooks.retry_delays = tuple(0.3 * 1.6**number for number in range(9))
        webhooks.sender.workers = 4
        webhooks.out_of_order, webhooks.sends_duplicates, webhooks.stale_states = True, True, True
        webhooks.add_endpoint(f"http://127.0.0.1:{port}/polar/webhooks/default/", secret=SECRET)
        environment = build_environment(
            DATABASE_URL=database,
            CELERY_BROKER_URL=broker,
            POLAR_ACCESS_TOKEN=polar.access_token,
            POLAR_SERVER=server.url,
            POLAR_REQUESTS_PER_MINUTE=1_000_000,
            POLAR_WEBHOOK_SECRET=SECRET,
        )
        environment["DJANGO_SETTINGS_MODULE"] = "tests.integration.hurried_settings"
        fleet, site = Fleet(tmp_path, environment), Site(tmp_path, environment, port)
        fleet.manage("migrate", "--verbosity", "0")
        fleet.manage("polar_sync")
        try:
            yield site, polar, connection, fleet
        finally:
            site.stop()


def read_count(connection: psycopg.Connection[Any], query: str) -> int:
    ((number,),) = connection.execute(query).fetchall()
    return int(number)


def read_mirror(fleet: Fleet) -> dict[str, Any]:
    states = json.loads(fleet.manage("shell", "-c", DUMP).splitlines()[-1])
    return {key: normalize(state) for key, state in states.items() if not state["deleted_at"]}


def find_differences(fleet: Fleet, polar: FakePolar) -> list[str]:
    mirrored, expected = read_mirror(fleet), read_polar(polar)
    return [key for key in mirrored.keys() | expected.keys() if mirrored.get(key) != expected.get(key)]


def is_enabled(polar: FakePolar) -> bool:
    return polar.webhooks.endpoints[0].enabled


def settle(connection: psycopg.Connection[Any], fleet: Fleet) -> None:
    """What else a minute of silence would do: those whom events left open are due at once."""
    wait_until(lambda: read_count(connection, PENDING) == 0)
    while read_count(connection, WAITING):
        connection.execute("UPDATE polar_sync_pendingrefresh SET due_at = now()")
        fleet.manage("polar_sync_follow", "--once")
        time.sleep(0.5)


def test_site_that_is_killed_now_and_then_is_level_after_a_silence(
    world: tuple[Site, FakePolar, psycopg.Connection[Any], Fleet],
) -> None:
    site, polar, connection, fleet = world
    for name in site.commands:
        site.start(name)
    site.wait_for_web()
    changes, rng = Changes(polar, seed=1), random.Random(2)
    changes.start()
    while changes.is_alive():
        time.sleep(rng.uniform(0.5, 1.5))
        name = rng.choice(list(site.commands))
        site.kill(name)
        time.sleep(rng.uniform(0, 0.5))
        site.start(name)
    assert not changes.errors
    polar.webhooks.wait_until_sent(PATIENCE * 2)
    settle(connection, fleet)
    assert connection.execute(UNWELL).fetchall() == []
    assert find_differences(fleet, polar) == [], fleet.read_logs()[-5000:]


def test_list_of_deliveries_alone_levels_a_site_whose_receiver_only_takes(
    world: tuple[Site, FakePolar, psycopg.Connection[Any], Fleet],
) -> None:
    """Without a public address: the endpoint is somebody else's, who answers 200 to everything."""
    _, polar, connection, fleet = world
    polar.webhooks.post = lambda *_: Response(200, "ok")
    changes = Changes(polar, seed=3)
    changes.run()
    polar.webhooks.wait_until_sent(PATIENCE)
    attempts, asked = len(polar.webhooks.deliveries), len(polar.requests)
    fleet.manage("polar_sync_follow", "--once", "--all")
    wanted = read_count(connection, ASKED) + read_count(connection, WAITING)
    asked = len(polar.requests) - asked
    settle(connection, fleet)
    assert find_differences(fleet, polar) == []
    assert asked <= attempts / 100 + 3 + wanted


def test_endpoint_that_polar_has_disabled_is_enabled_again_and_a_run_levels_the_site(
    world: tuple[Site, FakePolar, psycopg.Connection[Any], Fleet],
) -> None:
    """The receiver is down until Polar makes no events any more."""
    _, polar, connection, fleet = world
    polar.webhooks.retry_delays = (0.01,) * 9
    fleet.manage("polar_sync_follow", "--once")
    Changes(polar, seed=4).run()
    polar.webhooks.wait_until_sent(PATIENCE)
    assert not is_enabled(polar)
    told = len(polar.webhooks.events)
    for key in polar.customers[:20]:
        polar.update_customer(key, name="Nobody is told")
    assert len(polar.webhooks.events) == told
    connection.execute("UPDATE polar_sync_webhookfeed SET checked_at = checked_at - interval '10 minutes'")
    output = fleet.manage("polar_sync_follow", "--once")
    assert "succeeded" in output
    assert is_enabled(polar)
    ((gap_since, gap_until, problem),) = connection.execute(FEED).fetchall()
    ((complete_as_of,),) = connection.execute("SELECT complete_as_of FROM polar_sync_organization").fetchall()
    assert gap_since < gap_until < complete_as_of
    assert problem == ""
    settle(connection, fleet)
    assert find_differences(fleet, polar) == []
