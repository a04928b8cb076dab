"""States from lists."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.serializers import serialize

from polar_sync import sync
from polar_sync.client import ListPage, RequestBudget
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import BudgetWaitError
from polar_sync.models import Benefit, Customer, Meter, MeterDefinition, Product, Subscription, SyncRun
from polar_sync.payloads import Interval
from polar_sync.states import PartialResults
from polar_sync.states.batched import MAX_AGE_SECONDS, MAX_CUSTOMERS, MAX_LISTING_AGE_SECONDS, MAX_LISTINGS
from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.states.conftest import Run, find_differences

pytestmark = pytest.mark.django_db(transaction=True)


def test_states_from_lists_are_polars_own_with_far_fewer_requests(polar: FakePolar, run: Run) -> None:
    ended = run()
    assert (ended.status, ended.source, ended.listed) == ("succeeded", "batched", 130)
    assert find_differences(polar) == []
    assert ended.requests == sum(ended.requests_by_part.values()) == sum(polar.counts.values())
    assert ended.requests < 130 / 5


def test_second_run_changes_nothing(polar: FakePolar, run: Run) -> None:
    run()
    assert run().unchanged == 130


@pytest.mark.parametrize("order", [("batched", "per_customer"), ("per_customer", "batched")])
def test_state_does_not_depend_on_the_source(polar: FakePolar, run: Run, order: tuple[str, str]) -> None:
    late = Customer.objects.filter(subscriptions__is_in_state=False)
    for source in order:
        known = late.distinct().count()
        polar.clock_offset += timedelta(hours=2)  # beyond what a state may be old
        ended = run(source)
        assert (ended.source, find_differences(polar)) == (source, [])
        assert late.exists() == (source == "batched"), "only lists tell of past due ones"
    assert ended.unchanged == 130 - max(known, late.distinct().count())


def test_equal_rows_that_change_places_on_every_answer_cost_nothing(polar: FakePolar, run: Run) -> None:
    polar.shuffle_ties = polar.shuffle_arrays = True
    for customer_id in polar.customers:
        _set_dates(polar, customer_id)
    assert run().status == "succeeded"
    assert find_differences(polar) == []


def _set_dates(polar: FakePolar, customer_id: str) -> None:
    """All objects of one moment, as after an import."""
    state = json.loads(json.dumps(polar.get_state(customer_id)))
    for name in ("active_subscriptions", "granted_benefits", "active_meters"):
        for item in state[name]:
            item["created_at"] = "2025-01-01T00:00:00Z"
    polar.replace_state(customer_id, state)


def test_customer_with_more_than_a_page_of_a_kind_is_read_by_its_own_state(polar: FakePolar, run: Run) -> None:
    customer_id = polar.customers[5]
    state = json.loads(json.dumps(polar.get_state(customer_id)))
    sample = next(grant for each in polar.customers for grant in polar.get_state(each)["granted_benefits"])
    state["granted_benefits"] = [{**sample, "id": polar.make_id()} for _ in range(130)]
    polar.replace_state(customer_id, state)
    assert run().status == "succeeded"
    assert find_differences(polar) == []
    assert Customer.objects.get(pk=customer_id).benefit_grants.count() == 130
    assert any(request.path.endswith(f"{customer_id}/state") for request in polar.requests)


@pytest.mark.parametrize("kind", ["subscription", "subscription_meter", "grant", "meter", "customer"])
def test_field_that_polar_added_everywhere_is_kept(polar: FakePolar, run: Run, kind: Any) -> None:
    polar.add_field(kind, "added", {"deep": [1, None]}, where="both")
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("batched", [])


@pytest.mark.parametrize("kind", ["subscription", "subscription_meter", "grant", "meter", "customer"])
def test_field_that_only_lists_have_does_not_enter(polar: FakePolar, run: Run, kind: Any) -> None:
    polar.add_field(kind, "listed_only", 1, where="lists")
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("batched", [])


@pytest.mark.parametrize("kind", ["subscription", "subscription_meter", "grant", "meter", "customer"])
def test_field_that_only_states_have_makes_the_run_ask_for_states(polar: FakePolar, run: Run, kind: Any) -> None:
    polar.add_field(kind, "state_only", "x", where="states")
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "state_only" in ended.source_note


def test_stored_value_is_kept_where_lists_are_asked_for_nevertheless(polar: FakePolar, run: Run) -> None:
    polar.add_field("subscription", "state_only", "x", where="states")
    run("per_customer")
    ended = run("batched")
    assert (ended.source, find_differences(polar)) == ("batched", [])


def test_token_without_the_scopes_falls_back_and_says_so_once(
    polar: FakePolar, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    token = polar.create_token(scopes=["customers:read"])
    ended = run("auto", token=token)
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "scope" in ended.source_note
    assert caplog.text.count("asked for one by one") == 1
    assert not Product.objects.exists()


def test_token_without_the_scopes_fails_a_run_that_must_be_batched(polar: FakePolar, run: Run) -> None:
    ended = run("batched", token=polar.create_token(scopes=["customers:read"]))
    assert (ended.status, ended.reason) == ("failed", "missing_scope")


def test_past_due_subscriptions_are_mirrored_beside_the_state(polar: FakePolar, run: Run) -> None:
    run()
    late = Subscription.objects.filter(is_in_state=False)
    assert set(late.values_list("status", flat=True)) == {"past_due"}
    assert (
        not Customer.objects.active()
        .filter(subscriptions__in=late, subscriptions__is_in_state=True)
        .exclude(subscriptions__status__in=("active", "trialing"))
    )
    customer_id, number = str(late[0].customer_id), late.count()
    run()
    assert late.count() == number, "those of samples stay too"
    polar.set_other_subscriptions(customer_id, [])
    run()
    assert not late.filter(customer_id=customer_id).exists()
    assert find_differences(polar) == []


def test_past_due_subscriptions_go_when_a_source_that_does_not_tell_of_them_confirms_the_state(
    polar: FakePolar, run: Run
) -> None:
    run()
    assert Subscription.objects.filter(is_in_state=False).exists()
    polar.clock_offset += timedelta(hours=2)  # beyond what a state may be old
    ended = run("per_customer")
    assert not Subscription.objects.filter(is_in_state=False).exists()
    assert (ended.status, find_differences(polar)) == ("succeeded", [])


def test_past_due_subscriptions_go_with_their_customer(polar: FakePolar, run: Run) -> None:
    run()
    customer_id = Subscription.objects.filter(is_in_state=False)[0].customer_id
    polar.delete_customer(customer_id)
    run()
    assert not Subscription.objects.filter(customer_id=customer_id).exists()


def test_archived_meters_stay_as_a_state_once_told(polar: FakePolar, run: Run) -> None:
    run("per_customer")
    polar.archive_meter(str(Meter.objects.all()[0].meter_id))
    before = Meter.objects.count()
    run("batched")
    assert (Meter.objects.count(), find_differences(polar)) == (before, [])


def test_deprecated_price_id_stays_as_a_state_once_told(polar: FakePolar, run: Run) -> None:
    polar.lists_other_price = True
    run("batched")
    assert find_differences(polar, without=["price_id"]) == []
    polar.clock_offset += timedelta(hours=2)  # until then a state may be older than what the lists said
    run("per_customer")
    run("batched")
    assert find_differences(polar) == []


def test_customer_deleted_between_the_lists_is_marked_deleted(polar: FakePolar, run: Run) -> None:
    polar.shows_deleted = True
    run()
    victim = next(key for key in polar.customers if polar.get_state(key)["granted_benefits"])
    polar.before("benefit-grants:list", lambda: polar.delete_customer(victim))
    assert run().deleted == 1
    assert find_differences(polar) == []
    assert Customer.all_objects.get(pk=victim).deleted_at is not None


def test_people_read_names(polar: FakePolar, run: Run) -> None:
    run()
    assert Subscription.objects.exclude(product__name="").exists()
    names = set(MeterDefinition.objects.values_list("name", flat=True))
    assert names == {meter["name"] for meter in polar.meters} & names != set()
    changed = Product.objects.all()[0]
    polar.update_product(changed.pk, name="Renamed")
    run()
    changed.refresh_from_db()
    assert changed.name == "Renamed"


def test_names_come_from_the_catalogues_where_states_are_asked_for(polar: FakePolar, run: Run) -> None:
    ended = run("per_customer")
    assert set(Benefit.objects.values_list("name", flat=True)) == {each["description"] for each in polar.benefits}
    assert ended.requests == 2 + 130 + 3


def test_no_secret_of_a_benefit_is_kept(polar: FakePolar, run: Run) -> None:
    assert "fake-guild-token" in json.dumps(polar.benefits)
    for source in ("batched", "per_customer"):
        run(source)
        kept = [*Benefit.objects.all(), *Product.objects.all(), *MeterDefinition.objects.all()]
        assert "fake-guild-token" not in serialize(
            "json", [*kept, *Customer.objects.all(), *Subscription.objects.all()]
        )


def test_names_that_did_not_change_are_not_written_again(polar: FakePolar, run: Run) -> None:
    run()
    before = {each.pk: each.observed_at for each in [*Benefit.objects.all(), *Product.objects.all()]}
    run()
    assert before == {each.pk: each.observed_at for each in [*Benefit.objects.all(), *Product.objects.all()]}


@pytest.mark.parametrize("operation", ["subscriptions:list", "benefit-grants:list", "customer-meters:list"])
@pytest.mark.parametrize("kind", ["server_error", "cut", "truncate"])
def test_list_that_fails_now_and_then_loses_nobody(polar: FakePolar, run: Run, operation: str, kind: Any) -> None:
    polar.faults.add(Fault(operation=operation, kind=kind, times=2))
    assert run().status == "succeeded"
    assert find_differences(polar) == []


def test_list_that_holds_nothing_of_a_customer_it_counts_is_not_believed(polar: FakePolar, run: Run) -> None:
    run()
    body = json.dumps({"items": [], "pagination": {"total_count": 3, "max_page": 1}}).encode()
    polar.faults.add(Fault(operation="subscriptions:list", kind="server_error", status=200, body=body, times=1))
    assert run().status == "succeeded"
    assert find_differences(polar) == []


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
    assert len(connection.partial_results) == 0


def test_partial_results_are_handed_out_once() -> None:
    partial_results = PartialResults()
    parts = partial_results.take([ONE])
    parts[ONE].intervals["benefit_grant"] = NOW
    partial_results.put(parts)
    assert partial_results.take([ONE])[ONE] is parts[ONE]
    assert partial_results.take([ONE])[ONE].intervals == {}


def test_partial_results_of_another_run_are_forgotten() -> None:
    partial_results = PartialResults()
    partial_results.keep_for(1).put(partial_results.take([ONE]))
    assert len(partial_results.keep_for(1)) == 1
    assert len(partial_results.keep_for(2)) == 0


def test_partial_results_that_are_too_old_are_forgotten() -> None:
    partial_results = PartialResults()
    parts = partial_results.take([ONE])
    parts[ONE].began = time.monotonic() - MAX_AGE_SECONDS - 1
    partial_results.put(parts)
    assert partial_results.take([ONE])[ONE] is not parts[ONE]


def test_partial_results_are_bounded_and_the_first_go_first() -> None:
    partial_results = PartialResults()
    ids = [UUID(int=number) for number in range(MAX_CUSTOMERS + 3)]
    parts = partial_results.take(ids)
    partial_results.put(parts)
    assert len(partial_results) == MAX_CUSTOMERS
    assert partial_results.take(ids[:1])[ids[0]] is not parts[ids[0]]
    assert partial_results.take(ids[-1:])[ids[-1]] is parts[ids[-1]]


def test_listings_are_handed_out_once_and_while_they_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    partial_results = PartialResults().keep_for(1)
    answer = ListPage(items=[], total_count=0, max_page=0, interval=NOW)
    for page_id in range(MAX_LISTINGS + 1):
        partial_results.put_listing(page_id, answer)
    assert partial_results.take_listing(0) is None, "the oldest makes room"
    assert partial_results.take_listing(1) is answer
    assert partial_results.take_listing(1) is None
    late = time.monotonic() + MAX_LISTING_AGE_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr("polar_sync.states.batched.time.monotonic", lambda: late)
        assert partial_results.take_listing(2) is None
    assert partial_results.take_listing(3) is answer
    assert partial_results.keep_for(2).take_listing(4) is None
