from __future__ import annotations

import itertools
from typing import Any

import pytest

from polar_sync.exceptions import PayloadError
from polar_sync.payloads import load_canonical, read_customer, read_id, read_state
from polar_sync.payloads.kinds import get_child_kinds
from polar_sync.payloads.objects import StatePayload, iterate_objects
from polar_sync.payloads.values import read_newest, read_timestamp
from tests.factories import (
    ORGANIZATION_ID,
    build_customer,
    build_full_state,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    build_subscription_meter,
    make_id,
    make_uuid,
)
from tests.payloads.test_canonical import nest


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        12,
        [],
        {},
        {"id": None},
        {"id": 12},
        {"id": 10**5000},
        {"id": "not an id"},
        {"id": "\x00\ud800" * 1_000},
        {"id": nest(5_000)},
    ],
    ids=lambda value: str(type(value)),
)
def test_object_without_a_valid_id_is_refused_with_a_reason_to_show(value: Any) -> None:
    for read in (lambda: read_id(value, what="customer"), lambda: read_customer(value), lambda: read_state(value)):
        with pytest.raises(PayloadError) as caught:
            read()
        assert caught.value.reason.isascii()
        assert caught.value.reason.isprintable()
        assert len(caught.value.reason) < 1_000


def test_fields_outside_the_contract_are_kept_apart() -> None:
    customer = read_customer(build_customer("a", new_field=[1]))
    assert load_canonical(customer.payload) == build_customer("a")
    assert load_canonical(customer.extra) == {"new_field": [1]}
    assert read_customer(build_customer("a")).extra == ""


def test_customer_tells_its_organization_and_its_times() -> None:
    customer = read_customer(build_customer("a", modified_at="2025-06-01T00:00:00Z"))
    assert customer.id == make_uuid("a")
    assert customer.organization_id == ORGANIZATION_ID
    assert customer.created_at == read_timestamp(build_customer("a")["created_at"])
    assert not customer.is_deleted
    assert read_customer(build_customer("a", deleted_at="2025-06-01T00:00:00Z")).is_deleted
    assert read_customer({"id": make_id("a"), "organization_id": "?"}).organization_id is None


@pytest.mark.parametrize("array", ["active_subscriptions", "granted_benefits", "active_meters"])
@pytest.mark.parametrize("value", [None, {}, "text", "absent"])
def test_missing_array_of_children_is_refused_as_it_would_end_them(array: str, value: Any) -> None:
    state = build_full_state("a")
    if value == "absent":
        del state[array]
    else:
        state[array] = value
    with pytest.raises(PayloadError, match=array):
        read_state(state)


@pytest.mark.parametrize("array", ["active_subscriptions", "granted_benefits", "active_meters"])
@pytest.mark.parametrize("child", [None, "text", {}, {"id": "?"}])
def test_child_without_a_valid_id_fails_its_customer(array: str, child: Any) -> None:
    state = build_full_state("a")
    state[array].append(child)
    with pytest.raises(PayloadError, match=r"no valid id|not an object"):
        read_state(state)


@pytest.mark.parametrize("meters", [None, "text", {"id": 1}, 5])
def test_meters_that_are_no_array_stay_in_the_subscription(meters: Any) -> None:
    state = read_state(build_state("a", subscriptions=[build_subscription("s", meters=meters)]))
    [subscription] = state.children["subscription"].values()
    assert load_canonical(subscription.payload)["meters"] == meters
    assert not state.children["subscription_meter"]


def test_children_know_their_parents() -> None:
    state = read_state(build_full_state("a"))
    assert {child.parent_id for child in state.children["benefit_grant"].values()} == {make_uuid("a")}
    assert {child.parent_id for child in state.children["subscription_meter"].values()} == state.children[
        "subscription"
    ].keys()


def test_newest_time_is_looked_for_in_every_child() -> None:
    newest = "2025-09-09T09:09:09Z"
    late: dict[str, Any] = {"modified_at": newest}
    for state in (
        build_state("a", **late),
        build_state("a", subscriptions=[build_subscription("s", **late)]),
        build_state("a", subscriptions=[build_subscription("s", meters=[build_subscription_meter("m", **late)])]),
        build_state("a", grants=[build_grant("g", **late)]),
        build_state("a", meters=[build_meter("m", created_at=newest)]),
    ):
        times = [read_newest(each) for each in iterate_objects(state)]
        assert max(filter(None, times)) == read_timestamp(newest)


def _get_contents(state: StatePayload) -> tuple[dict[Any, Any], ...]:
    return tuple(dict(state.children[kind.name]) for kind in get_child_kinds())


def test_of_two_children_with_one_id_the_later_modified_one_is_kept() -> None:
    old = build_grant("g", modified_at="2025-02-01T00:00:00Z", benefit_type="old")
    new = build_grant("g", modified_at="2025-03-01T00:00:00Z", benefit_type="new")
    for grants in ([old, new], [new, old]):
        [kept] = read_state(build_state("a", grants=grants)).children["benefit_grant"].values()
        assert load_canonical(kept.payload) == new


def test_children_with_one_id_are_told_apart_without_regard_to_their_order() -> None:
    """Arrays come in another order each time; a choice by place would change the mirror with every reading."""
    meters = [build_subscription_meter("m", amount=amount) for amount in (1, 2)]
    subscriptions = [
        build_subscription("s", meters=[meters[0]]),
        build_subscription("s", status="trialing", meters=[meters[1]]),
        build_subscription("t", meters=[meters[1], meters[0]]),
        build_subscription("u", meters=[meters[1]]),
    ]
    grants = [build_grant("g", benefit_type=kind) for kind in ("x", "y", "z")]
    expected = _get_contents(read_state(build_state("a", subscriptions=subscriptions, grants=grants)))
    assert [len(contents) for contents in expected] == [3, 1, 1, 0]
    for some in itertools.permutations(subscriptions):
        state = build_state("a", subscriptions=list(some), grants=grants[::-1])
        assert _get_contents(read_state(state)) == expected


@pytest.mark.parametrize("holders", ["st", "ts"])
def test_meter_under_two_subscriptions_is_kept_where_it_was_modified_later(holders: str) -> None:
    times = ("2025-03-01T00:00:00Z", "2025-02-01T00:00:00Z")
    meters = [build_subscription_meter("m", modified_at=time) for time in times]
    subscriptions = [build_subscription(one, meters=[meter]) for one, meter in zip(holders, meters, strict=True)]
    for some in (subscriptions, subscriptions[::-1]):
        [kept] = read_state(build_state("a", subscriptions=some)).children["subscription_meter"].values()
        assert kept.parent_id == make_uuid(f"subscription {holders[0]}")
        assert load_canonical(kept.payload) == meters[0]
