"""Connections to organizations, and their threads."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings
from redis import Redis

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import BudgetWaitError
from polar_sync.sync.connections import FetchThreads
from polar_sync.testing import FakePolarServer


def test_work_is_done_on_so_many_threads_and_gives_its_result() -> None:
    threads = FetchThreads(3, name="test")
    barrier = threading.Barrier(3)
    futures = [threads.submit(barrier.wait, 5) for _ in range(3)]
    assert sorted(future.result(5) for future in futures) == [0, 1, 2]
    names = {threads.submit(lambda: threading.current_thread().name).result(5) for _ in range(20)}
    assert names <= {"test-0", "test-1", "test-2"}
    threads.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


def test_error_goes_to_who_waits_for_it_and_the_thread_lives_on() -> None:
    threads = FetchThreads(1, name="test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(5)
    assert threads.submit(lambda: 7).result(5) == 7
    threads.shutdown()


def test_end_does_not_wait_for_a_thread_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polar_sync.sync.connections._FAREWELL_SECONDS", 0.05)
    threads, is_hanging, is_let_go = FetchThreads(1, name="test"), threading.Event(), threading.Event()

    def hang() -> None:
        is_hanging.set()
        is_let_go.wait(60)

    hanging, queued = threads.submit(hang), threads.submit(lambda: 1)
    assert is_hanging.wait(60)
    threads.shutdown(cancel_futures=True)
    assert not hanging.done()
    with pytest.raises(CancelledError):
        queued.result(0)
    with pytest.raises(RuntimeError):
        threads.submit(lambda: 1)
    is_let_go.set()
    assert wait([hanging], timeout=60).done


def configure(settings: Settings, server: FakePolarServer, **keys: Any) -> None:
    entry = {"ACCESS_TOKEN": server.polar.access_token, "SERVER": server.url, "REQUESTS_PER_MINUTE": 1}
    ids = {"shop": server.polar.organization_id, "store": str(uuid4())}
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {name: {**entry, "ORGANIZATION_ID": id_} for name, id_ in ids.items()},
        **keys,
    }


@pytest.mark.parametrize("order", [("shop", "store"), ("store", "shop")])
def test_organizations_of_one_token_share_one_budget(
    polar_server: FakePolarServer, settings: Settings, order: tuple[str, str]
) -> None:
    configure(settings, polar_server)
    first, second = (sync.connect(polar_settings.get_organization(name), max_wait=0) for name in order)
    with first, second:
        first.list_customers(page=1, limit=1)
        with pytest.raises(BudgetWaitError):
            second.list_customers(page=1, limit=1)
    assert len(polar_server.polar.requests) == 1


def test_shared_budget_shows_no_token_in_redis(
    polar_server: FakePolarServer, settings: Settings, redis_url: str
) -> None:
    configure(settings, polar_server, THROTTLE_STORAGE=redis_url)
    with sync.connect(polar_settings.get_organization("store")) as connection:
        connection.list_customers(page=1, limit=1)
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        keys = [key for key in redis.scan_iter() if "shop" in key]
        assert len(keys) == 1
        assert polar_server.polar.access_token not in str(keys)
