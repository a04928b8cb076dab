"""Four real workers on Redis mirror 2,000 customers while each of them is killed once in mid-page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from polar_sync.testing import FakePolar
from tests.integration.fleet import PATIENCE, Fleet, make_database, serve_limited
from tests.services import borrow_redis, build_environment
from tests.sync.socketless import normalize, read_polar

CUSTOMERS = 2_000
REQUESTS_PER_MINUTE = 600
WORKERS = ("one", "two", "three", "four")
DUMP = """
import json
from polar_sync.models import Customer
print(json.dumps({str(customer.pk): customer.state() for customer in Customer.all_objects.with_state()}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Fleet, Any, psycopg.Connection[Any]]]:
    limits = ("--rate-limit", str(REQUESTS_PER_MINUTE), "--latency", "0.02")
    with (
        make_database() as database,
        borrow_redis() as broker,
        serve_limited("--customers", str(CUSTOMERS), "--seed", "1", *limits) as (server, stop),
        psycopg.connect(database.replace("postgres://", "postgresql://"), autocommit=True) as connection,
    ):
        environment = build_environment(
            DATABASE_URL=database,
            CELERY_BROKER_URL=broker,
            POLAR_ACCESS_TOKEN=server["access_token"],
            POLAR_SERVER=server["url"],
            POLAR_REQUESTS_PER_MINUTE=REQUESTS_PER_MINUTE,
        )
        fleet = Fleet(tmp_path, environment)
        fleet.manage("migrate", "--verbosity", "0")
        try:
            yield fleet, stop, connection
        finally:
            fleet.stop()


def test_killed_workers_lose_nothing_and_exceed_no_budget(
    site: tuple[Fleet, Any, psycopg.Connection[Any]],
) -> None:
    fleet, stop, connection = site
    for name in WORKERS:
        fleet.start_worker(name)
    fleet.send("polar_sync.sync_organization", "default")
    killed = kill_each_once(fleet, connection)
    run = read_run(connection)
    assert killed == set(WORKERS), fleet.read_logs()
    assert (run["status"], run["reason"]) == ("succeeded", ""), fleet.read_logs()
    assert run["created"] == CUSTOMERS
    assert [run[name] for name in ("updated", "unchanged", "stale", "deleted", "failed")] == [0] * 5
    # Nothing but a kill counts a claim and does not finish the page.
    ((claims, pages),) = connection.execute("SELECT sum(claims), count(*) FROM polar_sync_syncpage").fetchall()
    assert claims >= pages + len(WORKERS)

    dumped = fleet.manage("shell", "-c", DUMP).splitlines()[-1]
    mirrored = {key: normalize(state) for key, state in json.loads(dumped).items()}
    assert mirrored == read_polar(FakePolar.generate(seed="1", customers=CUSTOMERS))
    asked = stop()
    assert asked["rate_limited"] == 0
    assert asked["requests"] > REQUESTS_PER_MINUTE  # else the budget was never put to the test
    # What a killed worker had not committed is asked for again, and nothing else.
    assert asked["counts"]["customers:get_state"] <= CUSTOMERS + len(WORKERS) * 100


def kill_each_once(fleet: Fleet, connection: psycopg.Connection[Any]) -> set[str]:
    """Kill each worker while it does a page and start it anew, one after the other, until the run has ended."""
    waiting, killed = list(WORKERS), set[str]()
    resumed_at, deadline = time.monotonic(), time.monotonic() + PATIENCE
    while not is_ended(connection):
        assert time.monotonic() < deadline, fleet.read_logs()
        name = next(filter(fleet.is_busy, waiting), None)
        if name is not None and count_leases(connection):
            waiting.remove(name)
            fleet.kill_worker(name)
            killed.add(name)
            fleet.start_worker(name)
        if time.monotonic() - resumed_at > 1:
            fleet.send("polar_sync.resume_runs")
            resumed_at = time.monotonic()
        time.sleep(0.02)
    return killed


def is_ended(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("SELECT 1 FROM polar_sync_syncrun WHERE status <> 'running'").fetchone() is not None


def count_leases(connection: psycopg.Connection[Any]) -> int:
    leases = "SELECT count(*) FROM polar_sync_syncpage WHERE NOT is_done AND leased_until > now()"
    ((number,),) = connection.execute(leases).fetchall()
    return int(number)


def read_run(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    cursor = connection.execute("SELECT * FROM polar_sync_syncrun")
    assert cursor.description is not None
    (row,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description], row, strict=True))
