"""Between the moment that a worker looks at a run and the one that it has pages of it, others may move the run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncPage, SyncRun
from polar_sync.sync import steps
from polar_sync.sync.connections import Connection
from polar_sync.testing import FakePolar, Fault
from tests.sync.socketless import check_counts, serve

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Site:
    """Ten customers a page; two seconds pass before each listing is answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", 10)
        self.now = NOW
        self.polar = FakePolar(seed=1, clock=lambda: self.now)
        self.polar.before("customers:list", lambda: self.wait(2), times=None)
        serve(self.polar, monkeypatch, settings, MASS_DELETION_SHARE=1.0, STATE_SOURCE="auto")

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def create_customers(self, number: int) -> list[str]:
        began = datetime(2026, 1, 1, tzinfo=UTC)
        made = (self.polar.create_customer(created_at=began + timedelta(hours=hour)) for hour in range(number))
        return [customer["id"] for customer in made]

    def check(self, ended: SyncRun) -> None:
        check_counts(ended)
        mirrored = {str(key) for key in Customer.objects.values_list("pk", flat=True)}
        assert ended.status != "succeeded" or not set(self.polar.customers) - mirrored


def run(ours: Connection) -> SyncRun:
    return sync.work_in_foreground(sync.begin_run(polar_settings.get_organization("default")), ours)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Site:
    return Site(monkeypatch, settings)


@pytest.fixture
def connections() -> Iterator[tuple[Connection, Connection]]:
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as ours, sync.connect(organization) as others:
        yield ours, others


def be_overtaken(monkeypatch: pytest.MonkeyPatch, *, when: Callable[[int], bool], by: Callable[[int], Any]) -> None:
    """Let others do their work right before the first claim for which `when` holds."""
    claim = vars(steps)["claim_pages"]
    done: list[int] = []

    def overtaken(run_id: int, **how: Any) -> Any:
        if not done and when(run_id):
            done.append(run_id)
            by(run_id)
        return claim(run_id, **how)

    monkeypatch.setattr(steps, "claim_pages", overtaken)


def test_first_page_was_done_by_another_worker(
    site: Site, connections: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = connections
    ids = site.create_customers(30)

    def list_first_page(run_id: int) -> None:
        sync.take_step(run_id, others, max_workers=4)
        site.polar.delete_customer(ids[3])
        site.wait(5)
        site.polar.create_customer(created_at=site.now)
        site.wait(5)

    be_overtaken(monkeypatch, when=lambda _: True, by=list_first_page)
    site.check(run(ours))


def test_next_pass_was_opened_by_another_worker(
    site: Site, connections: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = connections
    ours.max_pages = others.max_pages = 4
    ids = site.create_customers(60)

    def delete_one() -> None:
        if ids[3] in site.polar.customers and site.polar.counts["customers:list"] >= 2:
            site.polar.delete_customer(ids[3])

    def is_last_page(run_id: int) -> bool:
        pages = SyncPage.objects.filter(run=run_id)
        return pages.count() > 1 and pages.filter(is_done=False).count() == 1

    site.polar.before("customers:list", delete_one, times=None)
    be_overtaken(monkeypatch, when=is_last_page, by=lambda run_id: sync.take_step(run_id, others, max_workers=4))
    ended = run(ours)
    assert ended.pass_number > 1
    site.check(ended)


def be_late(monkeypatch: pytest.MonkeyPatch, place: str, *, meanwhile: Callable[[SyncRun], Any], in_pass: int) -> None:
    """The first worker of that pass who comes to `place` is held up there until its lease has ended, and longer."""
    work = vars(steps)[place]
    late: list[int] = []

    def held_up(*args: Any, **kwargs: Any) -> Any:
        run = SyncRun.objects.get()
        if not late and run.pass_number == in_pass:
            late.append(run.pk)
            SyncPage.objects.filter(is_done=False).update(leased_until=datetime(2026, 1, 1, tzinfo=UTC))
            meanwhile(run)
        return work(*args, **kwargs)

    monkeypatch.setattr(steps, place, held_up)


def delete_while_paging(site: Site, customer_id: str, *, after: int) -> None:
    """After so many listings, before a later page is listed, so that it takes a walk backwards."""
    site.polar.before("customers:list", lambda: site.polar.delete_customer(customer_id), after=after)


def test_late_worker_of_a_walk_backwards_opens_no_page_that_is_there(
    site: Site, connections: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = connections
    ids = site.create_customers(35)
    delete_while_paging(site, ids[3], after=1)
    be_late(monkeypatch, "fetch_and_commit", meanwhile=lambda run: sync.take_step(run.pk, others), in_pass=2)
    ended = run(ours)
    assert (ended.status, ended.pass_number) == ("succeeded", 2)
    site.check(ended)


def test_late_worker_does_not_end_the_run_for_what_hindered_it_alone(
    site: Site, connections: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = connections
    site.create_customers(35)

    def overtake(run: SyncRun) -> None:
        sync.take_step(run.pk, others)
        site.polar.faults.add(Fault(kind="unauthorized", operation="customers:list"))

    be_late(monkeypatch, "list_pages", meanwhile=overtake, in_pass=1)
    ended = run(ours)
    assert (ended.status, ended.created) == ("succeeded", 35)
    site.check(ended)


def test_late_worker_does_not_begin_the_next_pass_with_its_old_answer(
    site: Site, connections: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = connections
    ids = site.create_customers(35)
    delete_while_paging(site, ids[3], after=2)

    def reach_next_pass(run: SyncRun) -> None:
        while SyncRun.objects.get().pass_number == 1:
            sync.take_step(run.pk, others)

    be_late(monkeypatch, "bind_organization", meanwhile=reach_next_pass, in_pass=1)
    begun = sync.begin_run(polar_settings.get_organization("default"))
    assert sync.take_step(begun.pk, ours).progress is sync.Progress.IDLE
    begun.refresh_from_db()
    assert (begun.pass_number, begun.pass_began_at) == (2, None)
    assert begun.first_total == 35
    ended = sync.work_in_foreground(begun, ours)
    assert ended.status == "succeeded"
    site.check(ended)
