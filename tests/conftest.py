"""What all tests share: the services and recordings that may be absent, and which tests use the database."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.postgresql import name_database
from tests.services import PROJECT, RECORDINGS, SHARED, borrow_redis, build_environment, miss

# How long an example takes says how busy the machine is.
hypothesis_settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
hypothesis_settings.load_profile("tests")
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


def pytest_xdist_auto_num_workers() -> int:
    """Two a processor: many tests wait for a disk, a browser or another process."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    tmp_path_factory: pytest.TempPathFactory,
    testrun_uid: str,
    worker_id: str,
) -> None:
    """A database that no other process of this test run has, nor another run beside it.

    SQLite is in a file: threads and processes meet there as they do in earnest, which in memory they do not.
    """
    database: dict[str, Any] = settings.DATABASES["default"]
    is_sqlite = database["ENGINE"].endswith(".sqlite3")
    database.setdefault("TEST", {})["NAME"] = (
        str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        if is_sqlite
        else name_database(f"{database['NAME']}_{worker_id}", run=testrun_uid)
    )


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows, to be copied for processes: migrating takes seconds."""
    path = tmp_path_factory.mktemp("migrated") / "site.sqlite3"
    environment = build_environment(DATABASE_URL=f"sqlite:///{path}")
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=PROJECT, env=environment, check=True
    )
    return path


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("polar_sync.client.retries.FIRST_DELAY", 0.0)
    monkeypatch.setattr("polar_sync.sync.steps.RETRY_SECONDS", 0.0)
    monkeypatch.setattr("polar_sync.sync.dry_run.RETRY_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Figures, counts and throttles of another test are not this one's."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder beside the checkout with Polar's contract (polar-openapi.json) and recordings of its answers."""
    if not SHARED.is_dir():
        miss("../shared is absent")
    return SHARED


@pytest.fixture(scope="session")
def recordings(shared_folder: Path) -> Path:
    """The folder with the recordings of a real Polar server."""
    if not RECORDINGS.is_dir():
        miss("../shared/recordings is absent")
    return RECORDINGS


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of an empty Redis database that nobody else uses meanwhile."""
    with borrow_redis() as url:
        yield url


_TIME = (time.time, time.monotonic, time.sleep)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A clock that stays patched fails the test that left it so, not the ones after it."""
    yield
    assert (time.time, time.monotonic, time.sleep) == _TIME, "the test leaves a patched clock behind"
