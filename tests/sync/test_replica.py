"""A project that reads from a replica which lags behind: here it holds what it held before the first run, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, models
from pytest_django import DjangoDbBlocker, Settings

from polar_sync import sync, tasks
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncPage, SyncRun
from polar_sync.sync.connections import close_worker_connections
from polar_sync.sync.runs import get_failed_ids
from polar_sync.testing import FakePolar
from tests.management.test_polar_sync import run_command
from tests.sync.conftest import Run, get_end
from tests.sync.socketless import read_mirror, read_polar

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica"]),
    pytest.mark.usefixtures("_replica"),
    pytest.mark.any_database,
]


class ReplicaRouter:
    """As in Django's documentation: writes to the one database, reads from the other."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        return "default"

    def allow_relation(self, one: models.Model, other: models.Model, **hints: Any) -> bool:
        return True


@pytest.fixture(scope="module")
def _replica(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    name = str(tmp_path_factory.mktemp("replica") / "replica.sqlite3")
    engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}
    connections.databases["replica"] = {**connections.databases["default"], **engine}
    with django_db_blocker.unblock():
        call_command("migrate", database="replica", verbosity=0)
    yield
    connections["replica"].close()
    del connections["replica"]
    del connections.databases["replica"]


@pytest.fixture
def read_from_replica(_replica: None, transactional_db: None, settings: Settings) -> Iterator[list[str]]:
    """The statements that the replica is sent from here on."""
    statements: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    with connections["replica"].execute_wrapper(note):
        yield statements
    settings.DATABASE_ROUTERS = []


@pytest.mark.parametrize("source", ["per_customer", "auto"])
def test_runs_mirror_everything(
    source: str, polar: FakePolar, run: Run, settings: Settings, read_from_replica: list[str]
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": source}
    polar.generate_customers(130)
    ended = run()
    assert (*get_end(ended), ended.created) == ("succeeded", "", 130)
    polar.delete_customer(polar.customers[0])
    polar.update_customer(polar.customers[1], name="Ada")
    ended = run()
    assert (*get_end(ended), ended.updated, ended.deleted, ended.unchanged) == ("succeeded", "", 1, 1, 128)
    assert not read_from_replica
    settings.DATABASE_ROUTERS = []
    assert read_mirror() == read_polar(polar)


def test_walk_backwards_is_finished(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch, read_from_replica: list[str]
) -> None:
    monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", 10)
    polar.generate_customers(35)
    polar.before("customers:list", lambda: polar.delete_customer(polar.customers[0]), after=2)
    ended = run()
    assert (*get_end(ended), ended.pass_number) == ("succeeded", "", 2)
    assert not read_from_replica


def test_abandoned_run_is_continued_and_a_live_one_refused(polar: FakePolar, read_from_replica: list[str]) -> None:
    polar.generate_customers(130)
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as connection:
        begun = sync.begin_run(organization)
        sync.take_step(begun.pk, connection)
        assert "is active since" in run_command().errors
        sync.let_go(begun.pk)
        ended = run_command("--json")
    assert (ended.line["run"], ended.line["status"], ended.line["created"]) == (begun.pk, "succeeded", 130)
    assert not read_from_replica


def test_workers_see_what_others_wrote(
    polar: FakePolar, monkeypatch: pytest.MonkeyPatch, read_from_replica: list[str]
) -> None:
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda self, args=(), **_: sent.append((self, args)))
    polar.generate_customers(130)
    broken = polar.customers[3]
    polar.replace_state(broken, {"id": None})
    tasks.sync_organization("default")
    try:
        while sent:
            task, args = sent.pop(0)
            task(*args)
    finally:
        close_worker_connections()
    ended = SyncRun.objects.get()
    assert (*get_end(ended), ended.listed) == ("partial", "customers_failed", 130)
    assert [str(key) for key in get_failed_ids(ended.pk)] == [broken]
    tasks.retry_failures(ended.pk)
    assert [args for _, args in sent] == [("default", broken)]
    tasks.resume_runs()
    assert not read_from_replica


def test_customers_are_refreshed(polar: FakePolar, read_from_replica: list[str]) -> None:
    polar.generate_customers(3)
    customer = polar.get_customer(polar.customers[0])
    assert run_command("--customer", customer["id"]).code == 0
    polar.delete_customer(customer["id"])
    ended = run_command("--external-id", customer["external_id"], "--json")
    assert ended.line["status"] == "deleted"
    assert not read_from_replica


def test_run_without_a_finished_page_is_not_complete(polar: FakePolar, run: Run) -> None:
    """However its pages were lost: nothing was listed, and that proves nothing."""
    polar.generate_customers(20)
    begun = sync.begin_run(polar_settings.get_organization("default"))
    SyncPage.objects.all().delete()
    sync.let_go(begun.pk)
    ended = run()
    assert (ended.pk, ended.created) == (begun.pk, 20)
