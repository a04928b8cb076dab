"""Customers whom Polar is asked about: together, once each, by one process, and later and later where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.exceptions import BudgetWaitError, RateLimitError
from polar_sync.models import Customer, PendingRefresh
from polar_sync.sync import pending_refreshes
from polar_sync.sync.pending_refreshes import Wanted, ask_due, count_due, note_wanted
from polar_sync.testing import Fault
from tests.sync.hearing import Hearing

pytestmark = pytest.mark.django_db


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    """Five customers who are mirrored, and have changed since without a word."""
    hearing = Hearing(monkeypatch, settings)
    with hearing.polar.webhooks.silence():
        for number in range(5):
            key = hearing.polar.create_customer(name=f"Ada {number}")["id"]
            hearing.polar.subscribe(key)
    hearing.run()
    hearing.pass_time(7200)
    for key in hearing.polar.customers:
        hearing.polar.grant(key, hearing.polar.benefits[0])
    hearing.pass_time(60)
    hearing.polar.reset_counts()
    return hearing


def want(hearing: Hearing, key: str, *, due: float = -1, **columns: Any) -> PendingRefresh:
    """Wanted since now on Polar's clock, and due in so many seconds on this machine's."""
    due_at = timezone.now() + timedelta(seconds=due)
    columns = {"since": hearing.now - timedelta(seconds=30), **columns}
    return PendingRefresh.objects.create(organization=hearing.row, customer_id=key, due_at=due_at, **columns)


def ask(hearing: Hearing, *, max_wait: float | None = None) -> int:
    with sync.connect(hearing.entry, max_wait=max_wait) as connection:
        return ask_due(hearing.entry, hearing.row, connection)


def test_all_who_are_due_are_asked_about_together(hearing: Hearing) -> None:
    for key in hearing.polar.customers:
        want(hearing, key)
    assert ask(hearing) == 5
    assert len(hearing.polar.requests) <= 4
    hearing.check()


def test_who_is_not_due_or_asked_about_by_another_is_left_alone(hearing: Hearing) -> None:
    later, leased, free, *_ = hearing.polar.customers
    want(hearing, later, due=60)
    want(hearing, leased, lease_token=uuid4(), leased_until=timezone.now() + timedelta(seconds=30))
    want(hearing, free)
    assert count_due(hearing.row) == 1
    assert ask(hearing) == 1
    assert {str(row.customer_id) for row in PendingRefresh.objects.all()} == {later, leased}


def test_lease_of_a_process_that_was_killed_expires(hearing: Hearing) -> None:
    [key, *_] = hearing.polar.customers
    want(hearing, key, lease_token=uuid4(), leased_until=timezone.now() - timedelta(seconds=1))
    assert ask(hearing) == 1
    assert not PendingRefresh.objects.exists()


def test_customer_who_was_read_meanwhile_is_not_asked_about_again(hearing: Hearing) -> None:
    [key, *_] = hearing.polar.customers
    want(hearing, key, since=hearing.now - timedelta(hours=3))
    assert ask(hearing) == 1
    assert hearing.polar.requests == []


def test_customer_who_is_gone_is_marked_deleted(hearing: Hearing) -> None:
    [key, *_] = hearing.polar.customers
    hearing.polar.delete_customer(key)
    want(hearing, key)
    ask(hearing)
    assert not Customer.objects.filter(pk=key).exists()
    assert not PendingRefresh.objects.exists()


def test_customer_whom_neither_side_knows_is_settled(hearing: Hearing) -> None:
    want(hearing, str(uuid4()))
    ask(hearing)
    assert not PendingRefresh.objects.exists()


def test_error_of_one_customer_postpones_that_one_longer_and_longer(hearing: Hearing) -> None:
    key = hearing.polar.create_customer(name="New")["id"]  # who is asked about alone
    hearing.polar.faults.add(Fault(kind="malformed", operation="customers:get_state", customer=key, times=None))
    delays = []
    row = want(hearing, key)
    for _ in range(12):
        PendingRefresh.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        before = timezone.now()
        assert ask(hearing) == 0
        row.refresh_from_db()
        delays.append((row.due_at - before).total_seconds())
        assert row.lease_token is None
    assert delays[:5] == pytest.approx([15, 30, 60, 120, 240], abs=5)
    assert delays[-1] == pytest.approx(3600, abs=5)
    assert row.attempts == 12
    assert row.reason


def test_budget_that_is_used_up_leaves_everybody_due(hearing: Hearing) -> None:
    for key in hearing.polar.customers:
        want(hearing, key)
    hearing.polar.faults.add(Fault(kind="rate_limit", retry_after=1, times=1))
    with pytest.raises((BudgetWaitError, RateLimitError)):
        ask(hearing, max_wait=0)
    assert count_due(hearing.row) == 5
    assert set(PendingRefresh.objects.values_list("attempts", flat=True)) == {0}
    assert ask(hearing) == 5
    hearing.check()


def test_token_without_the_lists_asks_for_each_state(hearing: Hearing) -> None:
    for operation in ("subscriptions:list", "benefit-grants:list", "customer-meters:list"):
        body = {"error": "insufficient_scope", "error_description": "…"}
        hearing.polar.faults.add(Fault(kind="refused", operation=operation, status=403, body=body, times=None))
    for key in hearing.polar.customers:
        want(hearing, key)
    ask(hearing)
    assert hearing.polar.counts["customers:get_state"] == 5


def test_what_asks_while_polar_is_asked_stays_wanted(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    [key, *_] = hearing.polar.customers
    want(hearing, key)
    since = hearing.now + timedelta(minutes=5)
    refresh = vars(pending_refreshes)["refresh_from_lists"]

    def refresh_late(*given: Any) -> Iterator[Any]:
        for each in refresh(*given):
            wanted = Wanted(since, timezone.now() + timedelta(minutes=1), "Once more.")
            note_wanted({UUID(key): wanted}, {}, organization=hearing.row)
            yield each

    monkeypatch.setattr(pending_refreshes, "refresh_from_lists", refresh_late)
    ask(hearing)
    left = PendingRefresh.objects.get()
    assert (left.since, left.lease_token) == (since, None)


def test_customer_who_is_wanted_twice_is_wanted_once_from_the_earlier_on_for_the_later(hearing: Hearing) -> None:
    key, now = UUID(hearing.polar.customers[0]), timezone.now()
    first = Wanted(hearing.now, now + timedelta(seconds=10), "first")
    second = Wanted(hearing.now + timedelta(seconds=5), now + timedelta(seconds=60), "second")
    for each in (first, second):
        note_wanted({key: each}, {}, organization=hearing.row)
    row = PendingRefresh.objects.get()
    assert (row.since, row.due_at, row.reason) == (second.since, first.due_at, "first")


@pytest.mark.parametrize(("seconds", "is_left"), [(-1, True), (0, False), (1, False)])
def test_state_of_then_or_later_makes_asking_unnecessary(hearing: Hearing, seconds: int, is_left: bool) -> None:
    key = UUID(hearing.polar.customers[0])
    want(hearing, str(key), since=hearing.now)
    note_wanted({}, {key: hearing.now + timedelta(seconds=seconds)}, organization=hearing.row)
    assert PendingRefresh.objects.exists() is is_left
