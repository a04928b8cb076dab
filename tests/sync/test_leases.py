"""Who holds a page, until when, and what a worker may still do that has lost it."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from polar_sync.models import Organization, SyncPage, SyncRun
from polar_sync.sync import finish_run
from polar_sync.sync.leases import (
    LeaseKeeper,
    LeaseLostError,
    claim_pages,
    count_idle_workers,
    count_live_leases,
    filter_abandoned,
    finish_page,
    release_page,
    renew_lease,
    save_page,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings: Settings) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}, "LEASE_SECONDS": 60}


@pytest.fixture
def begun() -> SyncRun:
    """A run with three open pages."""
    organization = Organization.objects.create(name="default", polar_id=UUID(int=1))
    begun = SyncRun.objects.create(organization=organization)
    SyncPage.objects.bulk_create(SyncPage(run=begun, number=number) for number in (1, 2, 3))
    return begun


def claim(begun: SyncRun) -> SyncPage:
    [page] = claim_pages(begun.pk)
    return page


def expire(page: SyncPage) -> None:
    SyncPage.objects.filter(pk=page.pk).update(leased_until=timezone.now() - timedelta(seconds=1))


def test_pages_are_claimed_in_order_and_each_once(begun: SyncRun) -> None:
    assert [claim(begun).number for _ in range(3)] == [1, 2, 3]
    assert claim_pages(begun.pk) == []
    assert count_live_leases(begun.pk) == 3


def test_claim_holds_for_the_lease_and_counts(begun: SyncRun) -> None:
    page = claim(begun)
    assert page.claims == 1
    assert page.leased_until is not None
    left = page.leased_until - timezone.now()
    assert timedelta(seconds=55) < left <= timedelta(seconds=61)


def test_expired_page_is_claimed_by_another_and_lost_to_the_first(begun: SyncRun) -> None:
    first = claim(begun)
    expire(first)
    second = claim(begun)
    assert (second.pk, second.claims) == (first.pk, 2)
    for work in (renew_lease, finish_page, save_page):
        with pytest.raises(LeaseLostError):
            work(first, **({"seen": 5} if work is save_page else {}))
    release_page(first, is_counted=True)
    second.refresh_from_db()
    assert second.lease_token is not None
    finish_page(second, seen=7)
    finished = SyncPage.objects.get(pk=second.pk)
    assert (finished.is_done, finished.seen, finished.lease_token) == (True, 7, None)


def test_done_page_cannot_be_finished_again(begun: SyncRun) -> None:
    page = claim(begun)
    finish_page(page)
    with pytest.raises(LeaseLostError):
        finish_page(page)


def test_pages_of_a_run_that_has_ended_are_neither_claimed_nor_finished(begun: SyncRun) -> None:
    page = claim(begun)
    finish_run(begun.pk, SyncRun.Status.FAILED)
    assert claim_pages(begun.pk) == []
    with pytest.raises(LeaseLostError):
        finish_page(page)
    with pytest.raises(LeaseLostError):
        renew_lease(page)


def test_released_page_can_be_claimed_at_once(begun: SyncRun) -> None:
    page = claim(begun)
    release_page(page, is_counted=True)
    again = claim(begun)
    assert (again.pk, again.claims) == (page.pk, 2)


def test_claim_that_only_met_a_wait_is_not_counted(begun: SyncRun) -> None:
    for _ in range(20):
        page = claim(begun)
        release_page(page, is_counted=False)
    assert claim(begun).claims == 1


def test_pages_are_claimed_together_unless_one_was_tried_before(begun: SyncRun) -> None:
    SyncPage.objects.bulk_create(SyncPage(run=begun, number=number) for number in range(4, 9))

    def claim_numbers(**how: int) -> list[int]:
        return [page.number for page in claim_pages(begun.pk, **how)]

    assert claim_numbers(at_most=5) == [1], "the others are known from its answer only"
    SyncPage.objects.filter(number=4).update(claims=1)
    assert claim_numbers(at_most=5) == [2, 3]
    assert claim_numbers(at_most=5) == [4]
    assert claim_numbers(at_most=3, workers=2) == [5, 6], "each worker is left its share"
    assert claim_numbers(at_most=5) == [7, 8]
    assert count_live_leases(begun.pk) == 5
    assert count_idle_workers(begun, workers=9) == 0


def test_pages_of_a_walk_and_confirmations_are_claimed_one_by_one(begun: SyncRun) -> None:
    SyncPage.objects.filter(number=2).update(pass_number=2)
    SyncPage.objects.filter(number=3).update(kind=SyncPage.Kind.CONFIRM)
    assert [len(claim_pages(begun.pk, at_most=5)) for _ in range(3)] == [1, 1, 1]


def test_keeper_renews_and_gives_back_what_it_still_holds(begun: SyncRun, monkeypatch: pytest.MonkeyPatch) -> None:
    SyncPage.objects.filter(number=1).update(is_done=True)
    first, second = claim_pages(begun.pk, at_most=2)
    keeper = LeaseKeeper([first, second])
    finish_page(first)
    keeper.drop(first)
    monkeypatch.setattr(keeper, "_renewed_at", 0.0)
    keeper.tick()
    keeper.release(is_counted=True)
    second.refresh_from_db()
    assert (second.lease_token, second.claims) == (None, 1)


def test_keeper_renews_after_a_third_of_the_lease(begun: SyncRun, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("polar_sync.sync.leases.time.monotonic", lambda: now[0])
    page = claim(begun)
    keeper = LeaseKeeper([page])
    soon = timezone.now() + timedelta(seconds=5)
    SyncPage.objects.filter(pk=page.pk).update(leased_until=soon)
    now[0] += 19
    keeper.tick()
    page.refresh_from_db()
    assert page.leased_until == soon
    now[0] += 1
    keeper.tick()
    page.refresh_from_db()
    assert page.leased_until is not None
    assert page.leased_until > soon + timedelta(seconds=50)
    SyncPage.objects.filter(pk=page.pk).update(lease_token=uuid4())
    now[0] += 20
    with pytest.raises(LeaseLostError):
        keeper.tick()


@pytest.mark.parametrize(
    ("heartbeat", "waiting", "is_abandoned"),
    [
        (None, None, True),
        (-61, None, True),
        (-30, None, False),
        (-900, 300, False),
        (-900, -30, False),
        (-900, -61, True),
    ],
)
def test_run_is_abandoned_without_heartbeat_wait_and_lease(
    heartbeat: int | None, waiting: int | None, is_abandoned: bool, begun: SyncRun
) -> None:
    def get_time(seconds: int | None) -> object:
        return None if seconds is None else timezone.now() + timedelta(seconds=seconds)

    SyncRun.objects.update(heartbeat_at=get_time(heartbeat), waiting_until=get_time(waiting))
    assert filter_abandoned(SyncRun.objects.all()).exists() is is_abandoned
    claim(begun)
    SyncRun.objects.update(heartbeat_at=get_time(heartbeat))
    assert not filter_abandoned(SyncRun.objects.all()).exists()


def test_missing_workers_are_counted(begun: SyncRun) -> None:
    assert count_idle_workers(begun, workers=4) == 3
    claim(begun)
    assert count_idle_workers(begun, workers=4) == 2
    assert count_idle_workers(begun, workers=2) == 1
    claim(begun)
    claim(begun)
    assert count_idle_workers(begun, workers=4) == 0
    SyncPage.objects.update(leased_until=None, lease_token=None, is_done=True)
    SyncRun.objects.update(heartbeat_at=None)
    assert count_idle_workers(begun, workers=4) == 4  # all pages are done, and nobody ended the run


def test_nobody_is_missing_while_the_run_waits(begun: SyncRun) -> None:
    SyncRun.objects.update(waiting_until=timezone.now() + timedelta(seconds=30))
    assert count_idle_workers(begun, workers=4) == 0


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_each_claims_another_page(begun: SyncRun) -> None:
    claimed: list[int] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        try:
            barrier.wait(timeout=10)
            claimed.extend(page.number for page in claim_pages(begun.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_page_that_another_takes_while_its_completion_waits_is_lost(begun: SyncRun) -> None:
    """The UPDATE waits for the row, and must look at the token again when it gets it."""
    page = claim(begun)
    outcome: list[str] = []

    def finish() -> None:
        try:
            finish_page(page)
            outcome.append("finished")
        except LeaseLostError:
            outcome.append("lost")
        finally:
            connection.close()

    thread = threading.Thread(target=finish)
    with transaction.atomic():
        SyncPage.objects.filter(pk=page.pk).update(lease_token=uuid4())
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it should be waiting for the row"
    thread.join()
    assert outcome == ["lost"]
