"""What all tests share: the services and recordings that may be absent, and which tests use the database."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.conf import settings
from django.test import TransactionTestCase
from redis import Redis
from redis.exceptions import RedisError

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
REDIS = os.environ.get("POLAR_SYNC_TEST_REDIS", "redis://127.0.0.1:6379")
# Redis has sixteen databases where nobody says otherwise; the first is left to whoever uses it by habit.
REDIS_DATABASES = range(15, 0, -1)
REDIS_LOCK = "polar_sync:tests:lock"
REDIS_LOCK_SECONDS = 1800
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the database, so that `-m database` repeats just that on another one."""
    for item in items:
        has_fixture = not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        cls = getattr(item, "cls", None)
        is_django_test = isinstance(cls, type) and issubclass(cls, TransactionTestCase)
        if has_fixture or is_django_test or item.get_closest_marker("django_db"):
            item.add_marker("database")


def miss(what: str) -> NoReturn:
    """Skip for want of something, or fail where POLAR_SYNC_REQUIRE_SERVICES=1 says that it must be there."""
    if os.environ.get("POLAR_SYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}, and POLAR_SYNC_REQUIRE_SERVICES=1 requires it.")
    pytest.skip(what)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Test on SQLite in a file: threads and processes meet there as they do in earnest, which in memory they do not."""
    database: dict[str, Any] = settings.DATABASES["default"]
    if database["ENGINE"].endswith(".sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder beside the checkout with Polar's contract (polar-openapi.json) and recordings of its answers."""
    if not SHARED.is_dir():
        miss("../shared is absent")
    return SHARED


@pytest.fixture(scope="session")
def recordings(shared_folder: Path) -> Path:
    """The folder with the recordings of a real Polar server."""
    folder = shared_folder / "recordings"
    if not folder.is_dir():
        miss("../shared/recordings is absent")
    return folder


@pytest.fixture(scope="session")
def redis_database() -> Iterator[str]:
    """The URL of a Redis database that nobody else uses while these tests run."""
    server = Redis.from_url(REDIS, socket_connect_timeout=2)
    try:
        server.ping()
    except RedisError as error:
        miss(f"The Redis of POLAR_SYNC_TEST_REDIS, or else of this machine, does not answer ({type(error).__name__})")
    finally:
        server.close()
    for number in REDIS_DATABASES:
        with Redis.from_url(REDIS, db=number) as connection:
            if claim_database(connection):
                yield f"{REDIS}/{number}"
                connection.flushdb()
                return
    miss(f"Redis answers, but none of its databases {REDIS_DATABASES[-1]} to {REDIS_DATABASES[0]} is free")


def claim_database(connection: Redis) -> bool:
    """Take an empty database, or one that an earlier test run left behind."""
    # The marker outlives the lock, and tells our own remains from somebody's data.
    marker = f"{REDIS_LOCK}:marker"
    if connection.dbsize() and not connection.exists(marker):
        return False
    if not connection.set(REDIS_LOCK, os.getpid(), nx=True, ex=REDIS_LOCK_SECONDS):
        return False
    connection.set(marker, 1)
    return True


@pytest.fixture
def redis_url(redis_database: str) -> str:
    """The URL of an empty Redis database."""
    with Redis.from_url(redis_database) as connection:
        # By key and not by FLUSHDB, which would drop the lock too.
        for key in connection.scan_iter():
            if not key.startswith(REDIS_LOCK.encode()):
                connection.delete(key)
    return redis_database
