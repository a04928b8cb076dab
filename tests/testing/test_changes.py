from __future__ import annotations

import json
from typing import Any

import pytest

from polar_sync.testing import FakePolar
from tests.testing.asking import ask, list_items

NOBODY = "7d444840-9dc0-4111-8111-000000000000"


@pytest.fixture
def made() -> FakePolar:
    polar = FakePolar.generate(seed=1, customers=40)
    polar.prepare()
    return polar


def test_renamed_product_is_renamed_wherever_it_is_shown(made: FakePolar) -> None:
    product = next(one for one in made.products if one["name"] == "Metered")
    assert made.update_product(product["id"], name="Metered 2", is_archived=True)["name"] == "Metered 2"
    listed = {one["id"]: one for one in list_items(made, "/v1/products/")}
    assert listed[product["id"]].pop("modified_at") is not None
    del product["modified_at"]
    assert listed[product["id"]] == {**product, "name": "Metered 2", "is_archived": True}
    nested = [one["product"] for one in list_items(made, "/v1/subscriptions/", query=f"product_id={product['id']}")]
    assert nested
    assert {one["name"] for one in nested} == {"Metered 2"}
    assert [one["id"] for one in list_items(made, "/v1/products/", query="is_archived=true")] == [product["id"]]


def test_changed_benefit_is_changed_in_the_products_that_grant_it(made: FakePolar) -> None:
    benefit = next(one for one in made.benefits if one["type"] == "custom")
    made.update_benefit(benefit["id"], description="Even more support")
    products = list_items(made, "/v1/products/", query="limit=100&query=FREE")
    assert [one["name"] for one in products] == ["Free"]
    assert "Even more support" in {one["description"] for one in products[0]["benefits"]}
    grants = [one for one in list_items(made, "/v1/benefit-grants/") if one["benefit_id"] == benefit["id"]]
    assert {one["benefit"]["description"] for one in grants} == {"Even more support"}


@pytest.mark.parametrize("metadata", [{}, {"flag": "beta", "on": 1, "pct": 0.25}])
def test_grant_shows_its_benefit_with_the_type_and_metadata_of_its_state(
    made: FakePolar, metadata: dict[str, Any]
) -> None:
    flag = next(one["id"] for one in made.benefits if one["type"] == "feature_flag")
    states = [made.get_state(one) for one in made.customers]
    state, grant = next(
        (one, grant) for one in states for grant in one["granted_benefits"] if grant["benefit_id"] == flag
    )
    grant |= {"benefit_type": "brand_new", "benefit_metadata": metadata}
    made.put_state(state)
    listed = {one["id"]: one["benefit"] for one in list_items(made, "/v1/benefit-grants/", [state["id"]])}
    assert listed[grant["id"]]["type"] == "brand_new"
    # Python holds 1 and True for equal, JSON does not.
    assert json.dumps(listed[grant["id"]]["metadata"]) == json.dumps(metadata)
    grant |= {"benefit_type": "feature_flag"}
    made.put_state(state)
    listed = {one["id"]: one["benefit"] for one in list_items(made, "/v1/benefit-grants/", [state["id"]])}
    assert json.dumps(listed[grant["id"]]["metadata"]) == json.dumps(metadata)


def test_archived_meter_leaves_the_list_of_customers_meters_and_stays_everywhere_else(made: FakePolar) -> None:
    gone, kept = made.meters[0]["id"], made.meters[1]["id"]
    states = {one: made.get_state(one) for one in made.customers}
    made.archive_meter(gone)
    listed = list_items(made, "/v1/customer-meters/", made.customers)
    assert {one["meter_id"] for one in listed} >= {kept}
    assert gone not in {one["meter_id"] for one in listed}
    named = list_items(made, "/v1/customer-meters/", made.customers, query=f"meter_id={gone}&limit=100")
    assert {one["meter_id"] for one in named} == {gone}
    both = list_items(made, "/v1/customer-meters/", made.customers, query=f"meter_id={gone}&meter_id={kept}&limit=100")
    assert {one["meter_id"] for one in both} == {gone, kept}
    assert {one: made.get_state(one) for one in made.customers} == states
    assert any(meter["meter_id"] == gone for state in states.values() for meter in state["active_meters"])
    archived = list_items(made, "/v1/meters/", query="is_archived=true")
    assert [one["id"] for one in archived] == [gone]
    assert len(list_items(made, "/v1/meters/")) == 3
    subscriptions = list_items(made, "/v1/subscriptions/")
    shown = [one for own in subscriptions for one in own["meters"] if one["meter_id"] == gone]
    assert {bool(one["meter"]["archived_at"]) for one in shown} == {True}


def test_renamed_meter_is_renamed_in_prices(made: FakePolar) -> None:
    meter = made.meters[0]["id"]
    made.update_meter(meter, name="Kilotokens", unit="custom", custom_label="kT")
    prices = [price for one in list_items(made, "/v1/products/") for price in one["prices"]]
    shown = [price["meter"] for price in prices if price.get("meter_id") == meter]
    assert [(one["name"], one["custom_label"]) for one in shown] == [("Kilotokens", "kT")]


def test_objects_given_back_are_copies(made: FakePolar) -> None:
    made.products[0]["prices"].clear()
    made.update_product(made.products[0]["id"], metadata={"a": 1})["metadata"]["a"] = 2
    assert made.products[0]["prices"]
    assert made.products[0]["metadata"] == {"a": 1}


def test_unknown_object_is_a_key_error_that_names_it(made: FakePolar) -> None:
    for call in (made.update_product, made.update_benefit, made.update_meter, made.archive_meter):
        with pytest.raises(KeyError, match=NOBODY):
            call(NOBODY)


def test_state_may_name_what_the_catalogue_does_not_have(polar: FakePolar) -> None:
    own = polar.create_customer()
    polar.put_state(
        {
            **own,
            "active_subscriptions": [{"id": "s", "status": "active", "product_id": NOBODY, "meters": [{}]}],
            "granted_benefits": [{"id": "g", "benefit_id": NOBODY, "benefit_type": "new", "benefit_metadata": {}}],
            "active_meters": [{"id": "m", "meter_id": NOBODY}],
        }
    )
    subscription = list_items(polar, "/v1/subscriptions/")[0]
    assert (subscription["product"]["id"], subscription["product_id"]) == (NOBODY, NOBODY)
    assert list_items(polar, "/v1/benefit-grants/")[0]["benefit"]["type"] == "new"
    assert list_items(polar, "/v1/customer-meters/")[0]["meter"]["id"] == NOBODY
    assert NOBODY not in ask(polar, "/v1/products/").body.decode()
