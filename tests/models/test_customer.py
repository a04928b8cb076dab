from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Prefetch
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Customer, Organization, Subscription
from tests.factories import (
    OLDEST_FIRST,
    apply_absences,
    apply_customers,
    apply_states,
    at,
    build_customer,
    build_full_state,
    build_meter,
    build_state,
    build_state_of_ages,
    build_subscription,
    make_id,
    make_uuid,
    normalize_state,
    read_at,
)


def count_queries(work: Any) -> int:
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


def test_external_id_is_matched_exactly(organization: Organization) -> None:
    ids = ["usr_1337", "USR_1337", "usr_13370", "usr%", " usr_1337", None]
    customers = [build_customer(number, external_id=one) for number, one in enumerate(ids)]
    apply_customers(organization, *customers, interval=read_at(0))
    assert [row.pk for row in Customer.objects.with_external_id("usr_1337")] == [make_uuid(0)]
    assert [row.pk for row in Customer.objects.with_external_id("usr%")] == [make_uuid(3)]
    assert not Customer.objects.with_external_id("").exists()


def test_external_id_may_be_the_key_of_a_row_of_your_own(organization: Organization) -> None:
    customers = [build_customer(number, external_id=one) for number, one in enumerate(["1337", make_id("user")])]
    apply_customers(organization, *customers, interval=read_at(0))
    assert Customer.objects.with_external_id(1337).get().external_id == "1337"
    assert Customer.objects.with_external_id(make_uuid("user")).get().external_id == make_id("user")


def test_active_customer_is_found_once(organization: Organization) -> None:
    subscriptions = [
        build_subscription(one, status=status) for one, status in enumerate(("active", "trialing", "active"))
    ]
    apply_states(
        organization,
        build_state("many", subscriptions=subscriptions),
        build_state("none"),
        build_state("past due", subscriptions=[build_subscription("p", status="past_due")]),
        build_state("trial", subscriptions=[build_subscription("t", status="trialing")]),
        interval=read_at(0),
    )
    assert sorted(row.pk for row in Customer.objects.active()) == sorted(map(make_uuid, ("many", "trial")))
    assert Customer.objects.active().count() == 2
    assert Customer.objects.with_external_id("usr_many").active().exists()


def test_subscription_that_ends_makes_its_customer_inactive(organization: Organization) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    apply_states(organization, build_state("a"), interval=read_at(1))
    assert not Customer.objects.active().exists()
    assert not Subscription.objects.present().exists()


def test_deleted_customers_are_left_out_of_objects_only(organization: Organization) -> None:
    apply_states(organization, build_full_state("a"), build_full_state("b"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    assert [row.pk for row in Customer.objects.all()] == [make_uuid("b")]
    assert Customer.all_objects.count() == organization.customers.count() == 2
    assert Customer._default_manager is Customer.all_objects
    assert Customer._base_manager.count() == 2


@pytest.mark.parametrize("number", [1, 10])
def test_states_cost_five_queries_whatever_the_number_of_customers(organization: Organization, number: int) -> None:
    states = [build_full_state(one) for one in range(number)]
    apply_states(organization, *states, interval=read_at(0))
    found: dict[Any, Any] = {}

    def work() -> None:
        found.update({row.pk: row.state() for row in Customer.objects.with_state()})

    assert count_queries(work) == 5
    for one, state in enumerate(states):
        assert normalize_state(found[make_uuid(one)]) == normalize_state(state)


def test_state_of_one_customer_costs_four_queries(organization: Organization) -> None:
    apply_states(organization, build_full_state("a", children=5), interval=read_at(0))
    row = Customer.objects.get()
    assert count_queries(row.state) == 4
    half = Customer.objects.prefetch_related(Prefetch("meters"), "benefit_grants").get()
    assert normalize_state(half.state()) == normalize_state(row.state())


@pytest.mark.parametrize("is_prefetched", [False, True])
def test_meters_come_oldest_first_as_on_polar(organization: Organization, is_prefetched: bool) -> None:
    apply_states(organization, build_state_of_ages("a"), interval=read_at(0))
    customer = (Customer.objects.with_state() if is_prefetched else Customer.objects).get()
    with CaptureQueriesContext(connection) as queries:
        state = customer.state()
    assert len(queries) == (0 if is_prefetched else 4)
    [subscription] = state["active_subscriptions"]
    for meters in (state["active_meters"], subscription["meters"], Subscription.objects.get().to_polar()["meters"]):
        assert [meter["created_at"] for meter in meters] == OLDEST_FIRST


def test_meters_of_one_age_come_by_their_ids(organization: Organization) -> None:
    apply_states(organization, build_state("a", meters=[build_meter(one) for one in range(9)]), interval=read_at(0))
    ids = [meter["id"] for meter in Customer.objects.get().state()["active_meters"]]
    assert ids == sorted(ids)


def test_state_of_a_deleted_customer_has_its_time_and_no_children(organization: Organization) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    state = Customer.all_objects.get().state()
    assert state == {
        **build_full_state("a", children=0),
        "deleted_at": at(1).isoformat().replace("+00:00", "Z"),
    }


def test_time_of_deletion_that_polar_gave_is_given_back(organization: Organization) -> None:
    customer = build_customer("a", deleted_at="2025-06-01T00:00:00+02:00")
    apply_customers(organization, customer, interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    assert Customer.all_objects.get().to_polar() == customer


def test_fields_of_states_and_of_lists_stay_where_polar_shows_them(organization: Organization) -> None:
    apply_states(organization, build_state("a", new_in_states=1, new=2), interval=read_at(0))
    apply_customers(organization, build_customer("a", new_in_lists=3, new=4), interval=read_at(1))
    row = Customer.objects.get()
    assert row.to_polar() == build_customer("a", new_in_lists=3, new=4)
    assert row.state() == build_state("a", new_in_states=1, new=2)


def test_customer_is_named_by_what_it_has(organization: Organization) -> None:
    fields: dict[str, Any] = {"name": "Ada", "email": "ada@example.com", "external_id": "usr_1"}
    for minute, name in enumerate([*fields, None]):
        apply_customers(organization, build_customer("a", **fields), interval=read_at(minute))
        assert str(Customer.objects.get()) == (fields[name] if name else str(make_uuid("a")))
        if name:
            fields[name] = None
