"""What the tests need from outside; where it is missing they skip, or fail if it is required."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from redis import Redis
from redis.exceptions import RedisError

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared"
RECORDINGS = SHARED / "recordings"
REDIS = os.environ.get("POLAR_SYNC_TEST_REDIS", "redis://127.0.0.1:6379")
# Redis has sixteen databases where nobody says otherwise; the first is left to whoever uses it by habit.
REDIS_DATABASES = range(15, 0, -1)
REDIS_PREFIX = "polar_sync:tests:"
REDIS_LOCK = f"{REDIS_PREFIX}lock"
REDIS_MARKER = f"{REDIS_PREFIX}marker"
REDIS_LOCK_SECONDS = 900
REDIS_PATIENCE_SECONDS = 60.0


def build_environment(**variables: object) -> dict[str, str]:
    """The environment of a process that must see nothing of ours: what any needs, and these variables."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return kept | {name: str(value) for name, value in variables.items()}


def miss(what: str) -> NoReturn:
    """Skip for want of something, or fail where POLAR_SYNC_REQUIRE_SERVICES=1 says that it must be there."""
    if os.environ.get("POLAR_SYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}, and POLAR_SYNC_REQUIRE_SERVICES=1 requires it.", pytrace=False)
    pytest.skip(what)


@contextmanager
def borrow_redis() -> Iterator[str]:
    """The URL of an empty Redis database that nobody else uses meanwhile, in this test run or another."""
    deadline = time.monotonic() + REDIS_PATIENCE_SECONDS
    while (number := find_database()) is None:
        if time.monotonic() > deadline:
            miss(f"Redis answers, but none of its databases {REDIS_DATABASES[-1]} to {REDIS_DATABASES[0]} is free")
        time.sleep(0.1)
    with Redis.from_url(REDIS, db=number) as connection:
        try:
            yield f"{REDIS}/{number}"
        finally:
            connection.flushdb()


def find_database() -> int | None:
    """Claim the first database that is free; gives its number."""
    try:
        for number in REDIS_DATABASES:
            with Redis.from_url(REDIS, db=number, socket_connect_timeout=3, socket_timeout=5) as connection:
                if claim_database(connection):
                    return number
    except RedisError as error:
        miss(f"The Redis of POLAR_SYNC_TEST_REDIS, or else of this machine, does not answer ({type(error).__name__})")
    return None


def claim_database(connection: Redis) -> bool:
    """Take an empty database, or one that an earlier test run left behind."""
    # The marker outlives the lock, and tells our own remains from somebody's data.
    if connection.dbsize() and not connection.exists(REDIS_MARKER):
        return False
    if not connection.set(REDIS_LOCK, os.getpid(), nx=True, ex=REDIS_LOCK_SECONDS):
        return False
    connection.set(REDIS_MARKER, 1)
    for key in connection.scan_iter():
        if not key.startswith(REDIS_PREFIX.encode()):
            connection.delete(key)
    return True
