from __future__ import annotations

from polar_sync.testing import FakePolar
from tests.testing.test_events import STATE, listen, take
from tests.testing.test_grants import get_state, list_grants


def test_purchase_grants_the_benefits_for_an_order_without_a_subscription(polar: FakePolar) -> None:
    own = polar.create_customer(name="Ada")["id"]
    listen(polar)
    product = next(one for one in polar.products if one["name"] == "Free")
    order = polar.purchase(own, product)
    told = take(polar)
    granted = ["benefit_grant.created"] * 3
    assert [one["type"] for one in told] == ["order.created", "order.paid", *granted, STATE]
    assert told[1]["data"] == order
    assert (order["status"], order["paid"], order["customer"]["name"]) == ("paid", True, "Ada")
    assert get_state(polar, own)["active_subscriptions"] == []
    assert {(one["order_id"], one["subscription_id"]) for one in list_grants(polar, own)} == {(order["id"], None)}


def test_second_purchase_of_the_same_has_grants_of_its_own(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    orders = {polar.purchase(own)["id"] for _ in range(2)}
    grants = list_grants(polar, own)
    assert len(orders) == 2
    assert len(grants) == 6
    assert {one["order_id"] for one in grants} == orders
