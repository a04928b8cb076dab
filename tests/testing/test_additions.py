from __future__ import annotations

from typing import Any, get_args

import pytest

from polar_sync.testing import FakePolar
from polar_sync.testing.additions import Kind, Where
from tests.testing.asking import ask, get_frozen_now, list_items

ADDED = {"deep": [1, None]}


def collect(polar: FakePolar, kind: Kind) -> tuple[list[Any], list[Any]]:
    """All objects of a kind as states have them, and as lists do."""
    states = [ask(polar, f"/v1/customers/{one}/state").json for one in polar.customers]
    subscriptions = list_items(polar, "/v1/subscriptions/", query="limit=100&status=active&status=trialing")
    if kind == "customer":
        return states, list_items(polar, "/v1/customers/")
    if kind == "subscription":
        return [one for state in states for one in state["active_subscriptions"]], subscriptions
    if kind == "subscription_meter":
        inner = [one for state in states for own in state["active_subscriptions"] for one in own["meters"]]
        return inner, [one for own in subscriptions for one in own["meters"]]
    if kind == "grant":
        return (
            [one for state in states for one in state["granted_benefits"]],
            list_items(polar, "/v1/benefit-grants/", query="limit=100&is_granted=true"),
        )
    return [one for state in states for one in state["active_meters"]], list_items(polar, "/v1/customer-meters/")


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("where", get_args(Where))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_added_field_is_where_it_was_put_and_nowhere_else(kind: Kind, where: Where, is_warm: bool) -> None:
    polar = FakePolar.generate(seed=1, customers=30, clock=get_frozen_now)
    if is_warm:
        polar.prepare()
    before = collect(polar, kind)
    polar.add_field(kind, "brand_new", ADDED, where=where)
    in_states, in_lists = collect(polar, kind)
    assert in_states
    assert in_lists
    assert in_states == [extend(one, where != "lists") for one in before[0]]
    extended = [extend(one, where != "states") for one in before[1]]
    if kind == "customer":
        assert in_lists == extended
    else:
        assert by_id(in_lists) == by_id(extended)


def extend(value: dict[str, Any], is_added: bool) -> dict[str, Any]:
    return {**value, "brand_new": ADDED} if is_added else value


def by_id(items: list[Any]) -> dict[str, Any]:
    return {item["id"]: item for item in items}


def test_customer_answers_and_nested_customers_carry_a_field_of_lists() -> None:
    polar = FakePolar.generate(seed=1, customers=30)
    polar.add_field("customer", "tier", "gold", where="lists")
    own = polar.customers[0]
    made = ask(polar, "/v1/customers/", method="POST", body={"email": "a@example.com"})
    assert ask(polar, f"/v1/customers/{own}").json["tier"] == made.json["tier"] == "gold"
    assert polar.get_customer(own)["tier"] == "gold"
    assert "tier" not in polar.get_state(own)
    assert {item["customer"]["tier"] for item in list_items(polar, "/v1/subscriptions/")} == {"gold"}


def test_field_reaches_customers_that_come_later_and_states_put_as_they_are(polar: FakePolar) -> None:
    polar.add_field("grant", "origin", "order", where="states")
    state = polar.create_customer()
    polar.put_state({**state, "granted_benefits": [{"id": "g"}, "no object"], "active_meters": 5})
    assert polar.get_state(state["id"])["granted_benefits"] == [{"id": "g", "origin": "order"}, "no object"]
    assert polar.get_state(state["id"])["active_meters"] == 5


@pytest.mark.parametrize(("kind", "where"), [("order", "both"), ("grant", "nowhere")])
def test_field_that_cannot_be_added_is_refused(polar: FakePolar, kind: Any, where: Any) -> None:
    with pytest.raises(ValueError, match="there are"):
        polar.add_field(kind, "x", 1, where=where)
