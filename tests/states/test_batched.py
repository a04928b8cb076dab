from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.serializers import serialize

from polar_sync.models import Benefit, Customer, Meter, MeterDefinition, Product, Subscription
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
