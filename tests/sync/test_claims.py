"""Several pages of the list in one claim: asked for together, each finished on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.client import ListPage
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import MissingScopeError, PolarSyncError, RateLimitError, ServerError
from polar_sync.models import Customer, SyncPage, SyncRun
from polar_sync.sync import fetching
from polar_sync.sync.connections import Connection
from polar_sync.sync.leases import count_live_leases
from polar_sync.sync.runs import cancel_run
from polar_sync.testing import FakePolar
from tests.states.conftest import find_differences
from tests.sync.conftest import Run, change_organization, get_end

pytestmark = pytest.mark.django_db(transaction=True)
PAGE_SIZE = 20
CUSTOMERS = 90


@pytest.fixture(autouse=True)
def _batched(polar: FakePolar, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", PAGE_SIZE)
    polar.generate_customers(CUSTOMERS, seed=3)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "batched"}


def get_claims() -> list[int]:
    return list(SyncPage.objects.order_by("number").values_list("claims", flat=True))


def count_lists(polar: FakePolar) -> int:
    return sum(polar.counts[f"{kind}:list"] for kind in ("subscriptions", "benefit-grants", "customer-meters"))


@contextmanager
def changed_listing(change: Callable[[Callable[..., ListPage], int], ListPage]) -> Iterator[None]:
    """What a claim gets for page `page` is `change(list_page, page)`."""
    original = Connection.list_customers

    def list_customers(self: Connection, *, page: int, limit: int) -> ListPage:
        return change(lambda number: original(self, page=number, limit=limit), page)

    with mock.patch.object(Connection, "list_customers", list_customers):
        yield


def on_another_thread(work: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        try:
            work()
        finally:
            connection.close()

    return call


def in_second_claim(work: Callable[[], object]) -> Callable[[], None]:
    """Once, when page 1 is mirrored and the others have been claimed together."""
    is_due = threading.Lock()

    def call() -> None:
        if Customer.objects.exists() and is_due.acquire(blocking=False):
            work()

    return on_another_thread(call)


def test_four_pages_are_one_claim_and_each_is_its_own_transaction(polar: FakePolar) -> None:
    organization = polar_settings.get_organization("default")
    begun = sync.begin_run(organization)
    held: list[int] = []
    with sync.connect(organization) as opened:
        assert sync.take_step(begun.pk, opened).opened == 4
        polar.before("subscriptions:list", on_another_thread(lambda: held.append(count_live_leases(begun.pk))))
        assert sync.take_step(begun.pk, opened).progress is sync.Progress.DONE
    assert held == [1], "the pages of one claim are one worker's"
    assert get_claims() == [1] * 5
    assert Customer.objects.count() == CUSTOMERS
    assert get_end(SyncRun.objects.get()) == ("succeeded", "")
    assert find_differences(polar) == []


def test_claim_of_several_pages_takes_fewer_requests(polar: FakePolar, run: Run, settings: Settings) -> None:
    change_organization(settings, REQUESTS_PER_MINUTE=60)  # one page at a time: a claim should not take minutes
    assert get_end(run()) == ("succeeded", "")
    alone = count_lists(polar)
    Customer.all_objects.all().delete()
    polar.reset_counts()
    change_organization(settings, REQUESTS_PER_MINUTE=500)
    assert get_end(run()) == ("succeeded", "")
    assert count_lists(polar) < alone


def test_batches_are_fuller_once_it_is_known_what_customers_have(polar: FakePolar, run: Run) -> None:
    run()
    first = count_lists(polar)
    polar.reset_counts()
    assert run().unchanged == CUSTOMERS
    assert count_lists(polar) < first


@pytest.mark.parametrize(
    "error",
    [
        ServerError("Bad gateway.", method="GET", path="/v1/customers/", status=502),
        RateLimitError("Too many.", method="GET", path="/v1/customers/", status=429, retry_in=0.0),
    ],
)
def test_page_that_cannot_be_listed_keeps_none_of_the_others(polar: FakePolar, run: Run, error: PolarSyncError) -> None:
    failures = [error]

    def fail_once(list_page: Callable[..., ListPage], page: int) -> ListPage:
        if page == 3 and failures:
            raise failures.pop()
        return list_page(page)

    with changed_listing(fail_once):
        assert get_end(run()) == ("succeeded", "")
    is_counted = not isinstance(error, RateLimitError)
    assert get_claims() == [1, 1, 1 + is_counted, 1, 1]
    assert find_differences(polar) == []


def test_page_that_was_tried_before_is_tried_alone(polar: FakePolar, run: Run) -> None:
    asked: list[int] = []

    def fail_twice(list_page: Callable[..., ListPage], page: int) -> ListPage:
        asked.append(page)
        if page == 3 and asked.count(3) <= 2:
            raise ServerError("Bad gateway.", method="GET", path="/v1/customers/", status=502)
        return list_page(page)

    with changed_listing(fail_twice):
        assert get_end(run()) == ("succeeded", "")
    assert sorted(asked[1:5]) == [2, 3, 4, 5]
    assert asked[5:7] == [3, 3]


def test_customer_on_two_pages_of_a_claim_counts_once(polar: FakePolar, run: Run) -> None:
    def repeat_last(list_page: Callable[..., ListPage], page: int) -> ListPage:
        answer = list_page(page)
        if page == 3:
            answer.items.insert(0, list_page(2).items[-1])
        return answer

    with changed_listing(repeat_last):
        ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.created, Customer.objects.count()) == (CUSTOMERS, CUSTOMERS, CUSTOMERS)
    assert sum(SyncPage.objects.values_list("seen", flat=True)) == CUSTOMERS
    assert get_claims() == [1] * 5
    assert find_differences(polar) == []


def test_page_that_another_worker_took_is_left_to_it(polar: FakePolar, run: Run) -> None:
    """Its lease ran out, say while the machine slept; what the other does with it must not be overwritten."""
    stolen: list[UUID] = []

    def steal() -> None:
        page = SyncPage.objects.get(number=4)
        stolen.append(uuid4())
        SyncPage.objects.filter(pk=page.pk).update(lease_token=stolen[0], leased_until=timezone.now())

    polar.before("subscriptions:list", in_second_claim(steal), times=None)
    ended = run()
    assert stolen
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.created) == (CUSTOMERS, CUSTOMERS)
    assert find_differences(polar) == []


def test_page_that_is_lost_costs_the_others_nothing(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    commit = vars(fetching)["commit_page"]

    def lose_second(run: SyncRun, page: SyncPage, *args: Any, **kwargs: Any) -> Any:
        if page.number == 2 and not taken:
            taken.append(page.number)
            soon = timezone.now() - timedelta(seconds=1)
            SyncPage.objects.filter(number=3).update(lease_token=uuid4(), leased_until=soon)
        return commit(run, page, *args, **kwargs)

    monkeypatch.setattr(fetching, "commit_page", lose_second)
    assert get_end(run()) == ("succeeded", "")
    assert get_claims() == [1, 1, 2, 1, 1]
    assert polar.counts["customers:list"] == 6
    assert find_differences(polar) == []


def test_scope_that_is_missing_beside_other_trouble_still_makes_the_run_fall_back(
    polar: FakePolar, run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "auto"}
    fetch = vars(fetching)["fetch_states"]
    told: list[int] = []

    def fetch_with_trouble(page_results: Any, *args: Any, **kwargs: Any) -> Iterator[None]:
        if len(page_results) < 4 or told:
            return fetch(page_results, *args, **kwargs)  # type: ignore[no-any-return]
        told.append(len(page_results))
        for each in page_results:
            each.stopping_error = MissingScopeError(
                "Lacks benefits:read.", method="GET", path="/v1/benefit-grants/", status=403, scopes=["benefits:read"]
            )
        page_results[0].stopping_error = ServerError(
            "Bad gateway.", method="GET", path="/v1/subscriptions/", status=502
        )
        return iter(())

    monkeypatch.setattr(fetching, "fetch_states", fetch_with_trouble)
    ended = run()
    assert told
    assert (get_end(ended), ended.source) == (("succeeded", ""), "per_customer")
    assert find_differences(polar) == []


def test_run_that_is_cancelled_writes_nothing_of_what_is_under_way(polar: FakePolar, run: Run) -> None:
    cancel = in_second_claim(lambda: cancel_run(SyncRun.objects.get().pk, by="us"))
    polar.before("customer-meters:list", cancel, times=None)
    ended = run()
    assert get_end(ended) == ("failed", "cancelled")
    assert ended.listed == Customer.objects.count() == PAGE_SIZE
    assert get_end(run()) == ("succeeded", "")
    assert find_differences(polar) == []


def test_customer_who_changed_between_the_lists_stays_as_changed(polar: FakePolar, run: Run) -> None:
    """A refresh between a customer's listing and the lists of what they have knows better than the listing."""
    run()
    changed = str(Customer.objects.order_by("created_at").values_list("pk", flat=True)[0])
    organization = polar_settings.get_organization("default")

    def change() -> None:
        polar.clock_offset += timedelta(seconds=5)
        polar.update_customer(changed, name="Changed meanwhile")
        with sync.connect(organization) as other:
            sync.refresh_customer(organization, UUID(changed), other)
        polar.clock_offset += timedelta(seconds=5)

    def list_and_change(list_page: Callable[..., ListPage], page: int) -> ListPage:
        answer = list_page(page)
        if page == 1:
            on_another_thread(change)()
        return answer

    with changed_listing(list_and_change):
        assert get_end(run()) == ("succeeded", "")
    assert Customer.objects.get(pk=changed).name == "Changed meanwhile"
    assert find_differences(polar) == []


def test_customer_known_to_have_more_than_a_page_costs_no_answer_that_overflows(polar: FakePolar, run: Run) -> None:
    heavy = polar.customers[50]
    state: dict[str, Any] = dict(polar.get_state(heavy))
    sample = next(grant for each in polar.customers for grant in polar.get_state(each)["granted_benefits"])
    state["granted_benefits"] = [{**sample, "id": polar.make_id()} for _ in range(130)]
    polar.replace_state(heavy, state)
    run()
    polar.requests.clear()
    assert run().unchanged == CUSTOMERS
    asked = [request for request in polar.requests if request.path == "/v1/benefit-grants/"]
    assert asked
    assert not [request for request in asked if heavy in str(request.query)]
    assert [request.path for request in polar.requests if request.path.endswith("/state")].count(
        f"/v1/customers/{heavy}/state"
    ) == 1
