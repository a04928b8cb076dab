from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest

from polar_sync import sync
from polar_sync.client import ListPage, RequestBudget
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import BudgetWaitError
from polar_sync.models import Customer, SyncRun
from polar_sync.payloads import Interval
from polar_sync.states import Leftovers
from polar_sync.states.leftovers import MAX_AGE_SECONDS, MAX_CUSTOMERS, MAX_LISTING_AGE_SECONDS, MAX_LISTINGS
from polar_sync.testing import FakePolar
from tests.states.conftest import find_differences

NOW = Interval.at(datetime(2026, 11, 21, tzinfo=UTC))
ONE = UUID(int=1)


class Allowance(RequestBudget):
    """Lets so many requests through until it is filled again, and waits for nothing."""

    def __init__(self, number: int) -> None:
        super().__init__(organization="allowance", requests_per_minute=1, max_wait=0.0)
        self.number, self._left = number, number
        self._counting = threading.Lock()

    def fill(self) -> None:
        self._left = self.number

    def acquire(self, *, closed: threading.Event) -> float:
        assert not closed.is_set()
        with self._counting:
            if not self._left:
                raise BudgetWaitError("Used up.", retry_in=61.0)
            self._left -= 1
        return 0.0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 9, 10])
def test_page_makes_progress_however_few_requests_a_claim_is_let_through(polar: FakePolar, number: int) -> None:
    polar.add_field("subscription", "added", 1, where="both")
    organization = polar_settings.get_organization("default")
    allowance = Allowance(number)
    with sync.connect(organization, max_wait=0.0) as connection:
        connection.client._transport._budget = allowance
        run = sync.begin_run(organization)
        for _ in range(120):
            if sync.take_step(run.pk, connection).progress is sync.Progress.ENDED:
                break
            run.refresh_from_db()
            if not run.is_running:
                break
            allowance.fill()
    ended = SyncRun.objects.get(pk=run.pk)
    assert (ended.status, ended.source, Customer.objects.count()) == ("succeeded", "batched", 130)
    assert find_differences(polar) == []
    assert len(connection.leftovers) == 0


def test_leftovers_are_handed_out_once() -> None:
    leftovers = Leftovers()
    parts = leftovers.take([ONE])
    parts[ONE].intervals["grants"] = NOW
    leftovers.put(parts)
    assert leftovers.take([ONE])[ONE] is parts[ONE]
    assert leftovers.take([ONE])[ONE].intervals == {}


def test_leftovers_of_another_run_are_forgotten() -> None:
    leftovers = Leftovers()
    leftovers.keep_for(1).put(leftovers.take([ONE]))
    assert len(leftovers.keep_for(1)) == 1
    assert len(leftovers.keep_for(2)) == 0


def test_leftovers_that_are_too_old_are_forgotten() -> None:
    leftovers = Leftovers()
    parts = leftovers.take([ONE])
    parts[ONE].began = time.monotonic() - MAX_AGE_SECONDS - 1
    leftovers.put(parts)
    assert leftovers.take([ONE])[ONE] is not parts[ONE]


def test_leftovers_are_bounded_and_the_first_go_first() -> None:
    leftovers = Leftovers()
    ids = [UUID(int=number) for number in range(MAX_CUSTOMERS + 3)]
    parts = leftovers.take(ids)
    leftovers.put(parts)
    assert len(leftovers) == MAX_CUSTOMERS
    assert leftovers.take(ids[:1])[ids[0]] is not parts[ids[0]]
    assert leftovers.take(ids[-1:])[ids[-1]] is parts[ids[-1]]


def test_listings_are_handed_out_once_and_while_they_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    leftovers = Leftovers().keep_for(1)
    answer = ListPage(items=[], total_count=0, max_page=0, interval=NOW)
    for page_id in range(MAX_LISTINGS + 1):
        leftovers.put_listing(page_id, answer)
    assert leftovers.take_listing(0) is None, "the oldest makes room"
    assert leftovers.take_listing(1) is answer
    assert leftovers.take_listing(1) is None
    late = time.monotonic() + MAX_LISTING_AGE_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr("polar_sync.states.leftovers.time.monotonic", lambda: late)
        assert leftovers.take_listing(2) is None
    assert leftovers.take_listing(3) is answer
    assert leftovers.keep_for(2).take_listing(4) is None
