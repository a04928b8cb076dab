"""Nothing holds a transaction, and nobody is forgotten, while Polar is asked."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncPage, SyncRun
from polar_sync.sync import fetching, steps
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, get_end
from tests.sync.socketless import count_asked

OPEN_TRANSACTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND (state LIKE 'idle in transaction%' OR xact_start < now() - interval '1 second')"
)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_polar_is_asked(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at in the thread that works on the run, whenever it waits for an answer."""
    polar.generate_customers(130)
    run()
    polar.delete_customer(polar.customers[0])
    waits: list[bool] = []

    def watch(work: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            waits.append(connection.in_atomic_block)
            return work(*args, **kwargs)

        return watched

    for module, name in ((steps, "list_pages"), (fetching, "fetch_states")):
        monkeypatch.setattr(module, name, watch(vars(module)[name]))
    assert get_end(run()) == ("succeeded", "")
    assert len(waits) >= 5
    assert not any(waits)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="asks PostgreSQL who has a transaction open")
def test_postgresql_sees_no_idle_transaction_while_polar_is_asked(polar: FakePolar, run: Run) -> None:
    seen: list[int] = []

    def look() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(OPEN_TRANSACTIONS)
                seen.append(cursor.fetchone()[0])
        finally:
            connection.close()  # of the server's own thread

    polar.generate_customers(30)
    polar.before(None, look, times=None)
    assert get_end(run()) == ("succeeded", "")
    assert len(seen) >= 31
    assert not any(seen)


@pytest.mark.django_db
def test_fetch_threads_have_no_database_connection(polar: FakePolar, run: Run) -> None:
    names: set[str] = set()
    used: list[str] = []
    make_connection = connection.ensure_connection

    def note(*args: Any, **kwargs: Any) -> Any:
        used.append(threading.current_thread().name)
        return make_connection(*args, **kwargs)

    polar.generate_customers(30)
    polar.before("customers:get_state", lambda: names.update(thread.name for thread in threading.enumerate()), times=1)
    with connection.execute_wrapper(lambda execute, *args: (note(), execute(*args))[1]):
        run()
    assert any(name.startswith("polar_sync") for name in names)
    assert set(used) == {threading.main_thread().name}


@pytest.mark.django_db
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_interrupted_run_is_let_go_of_and_continued_at_once(
    error: type[BaseException], polar: FakePolar, run: Run
) -> None:
    polar.generate_customers(150)
    organization = polar_settings.get_organization("default")
    begun = sync.begin_run(organization)

    def interrupt(_: SyncRun) -> None:
        raise error

    with sync.connect(organization) as opened, pytest.raises(error):
        sync.work_in_foreground(begun, opened, on_progress=interrupt)
    begun.refresh_from_db()
    assert begun.heartbeat_at is None
    ended = run()
    assert (ended.pk, *get_end(ended)) == (begun.pk, "succeeded", "")
    assert count_asked(polar) == (2, 150)


@pytest.mark.django_db
def test_progress_is_told_after_each_page(polar: FakePolar) -> None:
    polar.generate_customers(250)
    organization = polar_settings.get_organization("default")
    told: list[int] = []
    with sync.connect(organization) as opened:
        sync.work_in_foreground(sync.begin_run(organization), opened, on_progress=lambda run: told.append(run.listed))
    assert told == [100, 200, 250]


@pytest.mark.django_db
def test_wait_is_waited_and_shows_that_the_run_is_alive(polar: FakePolar, monkeypatch: pytest.MonkeyPatch) -> None:
    polar.generate_customers(5)
    polar.faults.add(Fault(kind="server_error", operation="customers:list", times=4))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        begun.refresh_from_db()
        assert begun.waiting_until is not None
        slept.append(seconds)

    monkeypatch.setattr("polar_sync.sync.steps.time.sleep", sleep)
    monkeypatch.setattr("polar_sync.sync.steps.RETRY_SECONDS", 5.0)
    organization = polar_settings.get_organization("default")
    begun = sync.begin_run(organization)
    with sync.connect(organization) as opened:
        ended = sync.work_in_foreground(begun, opened)
    assert get_end(ended) == ("succeeded", "")
    assert slept == [5.0]


@pytest.mark.django_db
def test_states_are_saved_now_and_then_while_a_page_lasts(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.sync.fetching._SAVE_SECONDS", 0.0)
    saved: list[int] = []
    commit = vars(fetching)["commit_page"]

    def watch(*args: Any, **kwargs: Any) -> Any:
        opened = commit(*args, **kwargs)
        saved.append(SyncRun.objects.get().listed)
        return opened

    monkeypatch.setattr("polar_sync.sync.fetching.commit_page", watch)
    polar.generate_customers(10)
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.created, SyncPage.objects.get().seen) == (10, 10)
    assert saved == sorted(saved)
    assert len(set(saved)) > 3
