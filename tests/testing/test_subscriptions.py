from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from polar_sync.testing import FakePolar
from polar_sync.testing.subscriptions import PERIODS
from tests.testing.asking import list_items
from tests.testing.test_events import STATE, listen, take, take_types
from tests.testing.test_grants import get_state, list_grants

NOBODY = "7d444840-9dc0-4111-8111-000000000000"
GRANTED = ["benefit_grant.created"] * 3
REVOKED = ["benefit_grant.revoked"] * 3


@pytest.fixture
def own(polar: FakePolar) -> str:
    customer: str = polar.create_customer()["id"]
    return customer


@pytest.fixture
def subscription(polar: FakePolar, own: str) -> dict[str, Any]:
    """A subscription with three benefits, of which nobody was told."""
    made = polar.subscribe(own, find_product(polar, "Free"))
    listen(polar)
    return made


def find_product(polar: FakePolar, name: str) -> dict[str, Any]:
    return next(one for one in polar.products if one["name"] == name)


def list_subscription(polar: FakePolar, own: str) -> Any:
    (listed,) = list_items(polar, "/v1/subscriptions/", [own])
    return listed


def test_new_subscription_grants_the_benefits_of_its_product(polar: FakePolar, own: str) -> None:
    listen(polar)
    product = find_product(polar, "Free")
    made = polar.subscribe(own, product, metadata={"a": 1})
    told = take(polar)
    created = ["subscription.created", "subscription.active", "subscription.updated"]
    assert [one["type"] for one in told] == [*created, *GRANTED, STATE]
    assert {one["data"]["modified_at"] for one in told[:3]} == {None}
    state = get_state(polar, own)
    assert told[-1]["data"] == state
    (shown,) = state["active_subscriptions"]
    assert (shown["id"], shown["product_id"], shown["metadata"]) == (made["id"], product["id"], {"a": 1})
    assert {one["benefit_id"] for one in state["granted_benefits"]} == {one["id"] for one in product["benefits"]}
    grants = list_grants(polar, own)
    assert {(one["subscription_id"], one["order_id"]) for one in grants} == {(made["id"], None)}
    assert list_subscription(polar, own)["price"]["id"] == shown["price_id"]


def test_first_product_is_taken_where_none_is_named(polar: FakePolar, own: str) -> None:
    assert polar.subscribe(own)["product_id"] == polar.products[0]["id"]


def test_trial_is_active_for_a_week_and_costs_what_comes_after_it(polar: FakePolar, own: str) -> None:
    made = polar.subscribe(own, find_product(polar, "Starter"), status="trialing")
    (shown,) = get_state(polar, own)["active_subscriptions"]
    assert (shown["status"], shown["amount"]) == ("trialing", 1000)
    assert made["trial_end"] == made["current_period_end"]
    assert datetime.fromisoformat(made["trial_end"]) - datetime.fromisoformat(made["trial_start"]) == timedelta(days=7)
    assert polar.cycle(made)["status"] == "active"


def test_incomplete_subscription_is_in_no_state_and_grants_nothing(polar: FakePolar, own: str) -> None:
    listen(polar)
    made = polar.subscribe(own, status="incomplete")
    assert take_types(polar) == ["subscription.created", STATE]
    assert get_state(polar, own)["active_subscriptions"] == []
    assert list_subscription(polar, own)["status"] == "incomplete"
    polar.set_status(made, "active")
    assert take_types(polar) == ["subscription.updated", "subscription.active", *GRANTED, STATE]


def test_cancelled_subscription_goes_on_until_its_period_ends(
    polar: FakePolar, own: str, subscription: dict[str, Any]
) -> None:
    cancelled = polar.cancel(subscription)
    assert take_types(polar) == ["subscription.updated", "subscription.canceled", STATE]
    assert (cancelled["cancel_at_period_end"], cancelled["ends_at"]) == (True, subscription["current_period_end"])
    assert cancelled["canceled_at"] is not None
    assert len(get_state(polar, own)["granted_benefits"]) == 3
    ended = polar.cycle(subscription)
    ends = ["subscription.updated", "subscription.canceled", "subscription.revoked"]
    assert take_types(polar) == [*ends, *REVOKED, STATE]
    assert (ended["status"], ended["canceled_at"]) == ("canceled", cancelled["canceled_at"])


def test_cancellation_can_be_taken_back(polar: FakePolar, subscription: dict[str, Any]) -> None:
    polar.cancel(subscription)
    take(polar)
    back = polar.uncancel(subscription["id"])
    assert take_types(polar) == ["subscription.updated", "subscription.uncanceled", STATE]
    assert (back["cancel_at_period_end"], back["canceled_at"], back["ends_at"]) == (False, None, None)


@pytest.mark.parametrize("call", ["revoke", "cancel", "set_status"])
def test_subscription_that_ends_at_once_takes_its_benefits_along(
    polar: FakePolar, own: str, subscription: dict[str, Any], call: str
) -> None:
    calls: dict[str, Any] = {
        "revoke": lambda: polar.revoke(subscription),
        "cancel": lambda: polar.cancel(subscription, at_period_end=False),
        "set_status": lambda: polar.set_status(subscription, "canceled"),
    }
    ended = calls[call]()
    ends = ["subscription.updated", "subscription.canceled", "subscription.revoked"]
    assert take_types(polar) == [*ends, *REVOKED, STATE]
    assert ended["status"] == "canceled"
    assert ended["canceled_at"] == ended["ended_at"] == ended["ends_at"] is not None
    state = get_state(polar, own)
    assert state["active_subscriptions"] == state["granted_benefits"] == []
    listed = list_subscription(polar, own)
    assert (listed["ended_at"], listed["modified_at"]) == (ended["ended_at"], ended["modified_at"])
    assert {one["is_revoked"] for one in list_grants(polar, own)} == {True}


def test_overdue_subscription_loses_its_benefits_and_has_the_same_again_when_paid(
    polar: FakePolar, own: str, subscription: dict[str, Any]
) -> None:
    before = {one["id"] for one in get_state(polar, own)["granted_benefits"]}
    overdue = polar.set_status(subscription, "past_due")
    assert take_types(polar) == ["subscription.updated", "subscription.past_due", *REVOKED, STATE]
    assert overdue["past_due_at"] is not None
    assert get_state(polar, own)["active_subscriptions"] == []
    paid = polar.set_status(subscription, "active")
    assert take_types(polar) == ["subscription.updated", "subscription.active", *GRANTED, STATE]
    assert paid["past_due_at"] is None
    assert {one["id"] for one in get_state(polar, own)["granted_benefits"]} == before


def test_grace_period_leaves_the_benefits_granted(polar: FakePolar, own: str, subscription: dict[str, Any]) -> None:
    polar.set_status(subscription, "past_due", keeps_benefits=True)
    assert take_types(polar) == ["subscription.updated", "subscription.past_due", STATE]
    state = get_state(polar, own)
    assert (state["active_subscriptions"], len(state["granted_benefits"])) == ([], 3)
    # The grants are still those of the subscription that the state does not show.
    assert {one["subscription_id"] for one in list_grants(polar, own)} == {subscription["id"]}


def test_paused_subscription_begins_a_new_period_when_it_is_resumed(
    polar: FakePolar, own: str, subscription: dict[str, Any]
) -> None:
    paused = polar.pause(subscription)
    assert take_types(polar) == ["subscription.updated", "subscription.paused", *REVOKED, STATE]
    assert (paused["status"], get_state(polar, own)["active_subscriptions"]) == ("paused", [])
    resumed = polar.resume(subscription)
    assert take_types(polar) == ["subscription.updated", "subscription.resumed", *GRANTED, STATE]
    assert (resumed["status"], resumed["paused_at"]) == ("active", None)
    assert resumed["current_period_start"] > subscription["current_period_start"]


def test_pause_asked_for_happens_at_the_end_of_the_period(polar: FakePolar, subscription: dict[str, Any]) -> None:
    asked = polar.pause(subscription, at_period_end=True)
    assert take_types(polar) == ["subscription.updated", STATE]
    assert (asked["status"], asked["pause_at_period_end"]) == ("active", True)
    assert polar.resume(subscription)["pause_at_period_end"] is False
    polar.pause(subscription, at_period_end=True)
    take(polar)
    paused = polar.cycle(subscription)
    assert take_types(polar) == ["subscription.updated", "subscription.paused", *REVOKED, STATE]
    assert (paused["status"], paused["pause_at_period_end"]) == ("paused", False)


def test_period_that_was_asked_to_pause_is_in_the_list_and_not_in_the_state(
    polar: FakePolar, own: str, subscription: dict[str, Any]
) -> None:
    polar.pause(subscription, at_period_end=True)
    assert list_subscription(polar, own)["pause_at_period_end"] is True
    assert "pause_at_period_end" not in get_state(polar, own)["active_subscriptions"][0]


def test_new_period_begins_where_the_old_one_ends(polar: FakePolar, subscription: dict[str, Any]) -> None:
    cycled = polar.cycle(subscription)
    told = take(polar)
    grants = ["benefit_grant.cycled"] * 3
    assert [one["type"] for one in told] == ["subscription.cycled", "subscription.updated", *grants, STATE]
    assert {one["data"]["is_granted"] for one in told[2:5]} == {True}
    assert None not in {one["modified_at"] for one in told[-1]["data"]["granted_benefits"]}
    assert cycled["current_period_start"] == subscription["current_period_end"]
    ends, starts = (datetime.fromisoformat(cycled[f"current_period_{name}"]) for name in ("end", "start"))
    assert ends - starts == PERIODS["month"]


def test_change_of_product_revokes_before_it_grants(polar: FakePolar, own: str, subscription: dict[str, Any]) -> None:
    product = find_product(polar, "Pro")
    changed = polar.change_product(subscription, product)
    assert take_types(polar) == ["subscription.updated", *REVOKED, *GRANTED[:2], STATE]
    assert (changed["amount"], changed["recurring_interval"]) == (19_900, "year")
    state = get_state(polar, own)
    assert {one["benefit_id"] for one in state["granted_benefits"]} == {one["id"] for one in product["benefits"]}
    assert list_subscription(polar, own)["product"]["name"] == "Pro"


def test_other_fields_are_changed_without_touching_benefits(
    polar: FakePolar, own: str, subscription: dict[str, Any]
) -> None:
    polar.update_subscription(subscription, seats=5, metadata={"b": 2}, modified_at="2027-01-01T00:00:00Z")
    told = take(polar)
    assert [one["type"] for one in told] == ["subscription.updated", STATE]
    assert (told[0]["data"]["seats"], told[0]["data"]["modified_at"]) == (5, "2027-01-01T00:00:00Z")
    (shown,) = get_state(polar, own)["active_subscriptions"]
    assert shown["metadata"] == {"b": 2}
    assert "seats" not in shown


def test_benefits_of_another_subscription_stay(polar: FakePolar, own: str, subscription: dict[str, Any]) -> None:
    other = polar.subscribe(own, find_product(polar, "Free"))
    bought = polar.grant(own, polar.benefits[0])
    assert len(get_state(polar, own)["granted_benefits"]) == 7
    polar.revoke(subscription)
    kept = get_state(polar, own)["granted_benefits"]
    listed = {one["id"]: one["subscription_id"] for one in list_grants(polar, own)}
    assert sorted(str(listed[one["id"]]) for one in kept) == sorted([other["id"]] * 3 + ["None"])
    assert bought["id"] in listed


def test_generated_subscriptions_live_on() -> None:
    polar = FakePolar.generate(seed=1, customers=40)
    before = {one["id"]: one for one in list_items(polar, "/v1/subscriptions/", query="status=active&limit=100")}
    granted = {one["id"]: one for one in list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=100")}
    for one in before.values():
        polar.cancel(one)
    after = {one["id"]: one for one in list_items(polar, "/v1/subscriptions/", query="status=active&limit=100")}
    assert after.keys() == before.keys()
    assert {one["cancel_at_period_end"] for one in after.values()} == {True}
    unchanged = list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=100")
    assert {one["id"]: one["subscription_id"] for one in unchanged} == {
        key: one["subscription_id"] for key, one in granted.items()
    }
    for one in before:
        polar.revoke(one)
    assert list_items(polar, "/v1/subscriptions/", query="status=active") == []
    ended = list_items(polar, "/v1/subscriptions/", query="status=canceled&limit=100")
    assert {one["id"] for one in ended if one["ended_at"]} == before.keys()
    left = {one["id"] for one in list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=100")}
    assert left == {key for key, one in granted.items() if one["subscription_id"] not in before} != granted.keys()


def test_recorded_subscriptions_and_grants_keep_what_only_lists_show(recorded_organization: Path) -> None:
    polar = FakePolar.replay(recorded_organization)
    listed = list_items(polar, "/v1/subscriptions/", query="status=active&limit=1")[0]
    polar.cancel(listed)
    (after,) = [
        one for one in list_items(polar, "/v1/subscriptions/", [listed["customer_id"]]) if one["id"] == listed["id"]
    ]
    # The deprecated price of a recorded list is another than that of its state now and then.
    changed = {name for name in listed if listed[name] != after[name]} - {"price", "price_id"}
    assert changed == {"modified_at", "cancel_at_period_end", "canceled_at", "ends_at"}
    assert list(after) == list(listed)
    grant = list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=1")[0]
    polar.revoke_grant(grant)
    rows = list_items(polar, "/v1/benefit-grants/", [grant["customer_id"]])
    revoked = next(one for one in rows if one["id"] == grant["id"])
    assert {name for name in grant if grant[name] != revoked[name]} == {
        *("modified_at", "granted_at", "is_granted", "revoked_at", "is_revoked"),
    }
    state = get_state(polar, grant["customer_id"])
    assert grant["id"] not in {one["id"] for one in state["granted_benefits"]}


def test_unknown_subscriptions_and_products_are_key_errors(polar: FakePolar, own: str) -> None:
    made = polar.subscribe(own)
    calls: list[Any] = [
        lambda: polar.cancel(NOBODY),
        lambda: polar.resume(NOBODY),
        lambda: polar.subscribe(own, NOBODY),
        lambda: polar.change_product(made, NOBODY),
        lambda: polar.subscribe(NOBODY),
    ]
    for call in calls:
        with pytest.raises(KeyError, match=NOBODY):
            call()
