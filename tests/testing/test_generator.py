from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from polar_sync.testing import FakePolar
from tests.testing.asking import ask

SEEDS = (1, 2, 3)


def make_validator(contract: dict[str, Any], name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": contract["components"]}
    return Draft202012Validator(schema)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_customers_and_states_fit_the_contract(seed: int, contract: dict[str, Any]) -> None:
    polar = FakePolar.generate(seed=seed, customers=200)
    customer_schema = make_validator(contract, "Customer")
    state_schema = make_validator(contract, "CustomerState")
    for customer_id in polar.customers:
        customer_schema.validate(ask(polar, f"/v1/customers/{customer_id}").json)
        state_schema.validate(ask(polar, f"/v1/customers/{customer_id}/state").json)
    assert len(polar.customers) == 200


@pytest.mark.parametrize("seed", SEEDS)
def test_list_created_updated_and_portal_answers_fit_the_contract(seed: int, contract: dict[str, Any]) -> None:
    polar = FakePolar.generate(seed=seed, customers=200)
    for page in (1, 2, 3):
        listed = ask(polar, f"/v1/customers/?limit=100&page={page}").json
        make_validator(contract, "ListResource_Customer_").validate(listed)
    address = {"country": "DE"}
    sent = {"email": "new@example.com", "name": "N", "billing_address": address, "tax_id": "136 695 976"}
    created = ask(polar, "/v1/customers/", method="POST", body=sent)
    make_validator(contract, "Customer").validate(created.json)
    path = f"/v1/customers/{created.json['id']}"
    updated = ask(polar, path, method="PATCH", body={"type": "team", "name": None})
    make_validator(contract, "Customer").validate(updated.json)
    asked = {"customer_id": created.json["id"]}
    session = ask(polar, "/v1/customer-sessions/", method="POST", body=asked).json
    make_validator(contract, "CustomerSession").validate(session)
    me = ask(polar, "/v1/customer-portal/customers/me", token=session["token"]).json
    make_validator(contract, "CustomerPortalCustomer").validate(me)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/subscriptions/", "ListResource_Subscription_"),
        ("/v1/benefit-grants/", "ListResource_BenefitGrant_"),
        ("/v1/customer-meters/", "ListResource_CustomerMeter_"),
        ("/v1/products/", "ListResource_Product_"),
        ("/v1/benefits/", "ListResource_Benefit_"),
        ("/v1/meters/", "ListResource_Meter_"),
    ],
)
def test_other_lists_fit_the_contract(seed: int, path: str, name: str, contract: dict[str, Any]) -> None:
    polar = FakePolar.generate(seed=seed, customers=80, shows_deleted=True, lists_other_price=True)
    polar.archive_meter(polar.meters[0]["id"])
    validator = make_validator(contract, name)
    first = ask(polar, f"{path}?limit=100").json
    assert first["items"]
    for page in range(1, first["pagination"]["max_page"] + 1):
        validator.validate(ask(polar, f"{path}?limit=100&page={page}").json)
    wrong = {**first, "items": [{**first["items"][0], "created_at": 5}]}
    assert not validator.is_valid(wrong)


def test_contract_refuses_a_wrong_state(contract: dict[str, Any]) -> None:
    polar = FakePolar.generate(seed=1, customers=1)
    state = {**polar.get_state(polar.customers[0]), "email_verified": "perhaps"}
    assert not make_validator(contract, "CustomerState").is_valid(state)


def test_same_seed_gives_the_same_organization_and_another_seed_another() -> None:
    first, again, other = (FakePolar.generate(seed=seed, customers=50) for seed in (7, 7, 8))
    assert [first.get_state(one) for one in first.customers] == [again.get_state(one) for one in again.customers]
    assert (first.organization_id, first.access_token) == (again.organization_id, again.access_token)
    assert set(first.customers).isdisjoint(other.customers)
    assert first.access_token != other.access_token


def test_generated_organization_holds_every_oddity() -> None:
    polar = FakePolar.generate(seed=1, customers=300)
    states = [polar.get_state(one) for one in polar.customers]
    grants = [grant for state in states for grant in state["granted_benefits"]]
    meters = [meter for state in states for meter in state["active_meters"]]
    metadata = [value for state in states for value in state["metadata"].values()]
    created = Counter(state["created_at"] for state in states)

    assert {state["type"] for state in states} == {"individual", "team"}
    assert any(state["email"] is None for state in states)
    assert all(state["email"] for state in states if state["type"] == "individual")
    assert len({grant["benefit_type"] for grant in grants}) == 8
    assert {type(value) for value in metadata} == {str, int, float, bool}
    assert {len(state["active_subscriptions"]) for state in states} == {0, 1, 2, 3}
    assert any(one["meters"] for state in states for one in state["active_subscriptions"])
    assert any(meter["balance"] < 0 for meter in meters)
    assert any(meter["balance"] % 1 for meter in meters)
    assert max(created.values()) > 3
    assert any("/" in (state["external_id"] or "") for state in states)
    assert any(state["tax_id"] for state in states)
    assert polar.deleted_customers
    assert any(record.other_subscriptions for record in polar.store)
    assert any(record.other_grants for record in polar.store)
    texts = "".join(state["name"] or "" for state in states)
    scripts = {unicodedata.name(sign, "").partition(" ")[0] for sign in texts}
    assert {"LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC", "DEVANAGARI", "THAI", "CJK", "HANGUL"} <= scripts


def test_emails_of_living_customers_are_unique() -> None:
    polar = FakePolar.generate(seed=3, customers=400)
    polar.generate_customers(100, seed=9)
    emails = [email.casefold() for one in polar.customers if (email := polar.get_customer(one)["email"])]
    assert len(emails) == len(set(emails))
    assert len(polar.customers) == 500


def test_customers_added_later_are_younger() -> None:
    polar = FakePolar.generate(seed=1, customers=20)
    old = polar.customers
    polar.generate_customers(20, seed=2)
    assert polar.customers[:20] == old
    created = [polar.get_customer(one)["created_at"] for one in polar.customers]
    assert created == sorted(created)
