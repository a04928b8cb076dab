"""Subscriptions, benefit grants and meters, listed and narrowed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Organization
from tests.factories import (
    OLDEST_FIRST,
    apply_states,
    build_grant,
    build_meter,
    build_state,
    build_state_of_ages,
    build_subscription,
    build_subscription_meter,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def two_customers(organization: Organization) -> Organization:
    apply_states(
        organization,
        build_state(
            "a",
            subscriptions=[
                build_subscription(
                    "1", meters=[build_subscription_meter("1")], current_period_end="2026-06-01T00:00:00Z"
                ),
                build_subscription("2", status="trialing", product_id=make_id("other"), cancel_at_period_end=True),
            ],
            grants=[build_grant("1"), build_grant("2", benefit_type="license_keys", benefit_id=make_id("other"))],
            meters=[build_meter("1", balance=-1.5), build_meter("2", balance=10, meter_id=make_id("other"))],
        ),
        build_state("b", external_id="team/b", subscriptions=[build_subscription("3", current_period_end=None)]),
        interval=read_at(0),
    )
    return organization


def found(api: Client, path: str, kind: str) -> list[str]:
    answer = api.get(f"/polar/v1/{path}")
    assert answer.status_code == 200, answer.content
    names = {make_id(f"{kind} {number}"): str(number) for number in range(10)}
    return sorted(names[item["id"]] for item in answer.json()["items"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "123"),
        (f"customer_id={make_id('a')}", "12"),
        (f"customer_id={make_id('a')}&customer_id={make_id('b')}", "123"),
        (f"external_customer_id={quote('team/b')}", "3"),
        ("status=trialing", "2"),
        ("status=trialing&status=active", "123"),
        ("status=ended", ""),
        (f"product_id={make_id('other')}", "2"),
        ("current_period_end_before=2026-01-01T00:00:00Z", "2"),
        ("current_period_end_after=2026-01-01", "1"),
        ("current_period_end_after=2026-05-31T23:30:00%2B00:00", "1"),
        ("current_period_end_after=2026-06-01T00:30:00+01:00", "1"),
        ("cancel_at_period_end=true", "2"),
        (f"organization_id={make_id('nobody')}", ""),
    ],
)
def test_subscriptions_are_narrowed(two_customers: Organization, api: Client, query: str, expected: str) -> None:
    assert "".join(found(api, f"subscriptions/?{query}", "subscription")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "12"),
        ("benefit_type=license_keys", "2"),
        (f"benefit_id={make_id('benefit')}", "1"),
        ("external_customer_id=usr_a", "12"),
        ("is_granted=true", "12"),
        ("is_granted=false", ""),
    ],
)
def test_grants_are_narrowed(two_customers: Organization, api: Client, query: str, expected: str) -> None:
    assert "".join(found(api, f"benefit-grants/?{query}", "grant")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "12"),
        ("balance_below=0", "1"),
        ("balance_below=-1.5", ""),
        ("balance_below=1e300", "12"),
        (f"meter_id={make_id('other')}", "2"),
    ],
)
def test_meters_are_narrowed(two_customers: Organization, api: Client, query: str, expected: str) -> None:
    for name in ("meters", "customer-meters"):
        assert "".join(found(api, f"{name}/?{query}", "meter")) == expected


def test_objects_are_as_in_the_state_and_say_whose_they_are(two_customers: Organization, api: Client) -> None:
    state = api.get(f"/polar/v1/customers/{make_id('a')}/state").json()
    owner = {
        "customer_id": make_id("a"),
        "external_customer_id": "usr_a",
        "organization_id": str(two_customers.polar_id),
    }
    arrays = {"subscriptions": "active_subscriptions", "benefit-grants": "granted_benefits", "meters": "active_meters"}
    for path, array in arrays.items():
        for item in state[array]:
            assert api.get(f"/polar/v1/{path}/{item['id']}").json() == item | owner
            listed = api.get(f"/polar/v1/{path}/?customer_id={make_id('a')}").json()["items"]
            assert item | owner in listed
    assert any(item["meters"] for item in state["active_subscriptions"])


@pytest.mark.parametrize(
    ("path", "key"),
    [("subscriptions", "current_period_end"), ("meters", "balance"), ("benefit-grants", "created_at")],
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_sorting_and_cursors(two_customers: Organization, api: Client, path: str, key: str, sign: str) -> None:
    whole = api.get(f"/polar/v1/{path}/?sorting={sign}{key}").json()["items"]
    values = [item[key] for item in whole if item[key] is not None]
    assert values == sorted(values, reverse=bool(sign))
    walked: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        body = api.get(f"/polar/v1/{path}/?sorting={sign}{key}&limit=1&cursor={cursor}").json()
        walked += body["items"]
        cursor = body["pagination"]["next_cursor"]
    assert walked == whole


def test_meters_in_states_and_subscriptions_come_oldest_first_as_on_polar(
    organization: Organization, api: Client
) -> None:
    apply_states(organization, build_state_of_ages("a"), interval=read_at(0))
    with CaptureQueriesContext(connection) as queries:
        state = api.get(f"/polar/v1/customers/{make_id('a')}/state").json()
    # All of a state is of one moment.
    assert sum("polar_sync_meter" in query["sql"] for query in queries) == 1
    [listed] = api.get("/polar/v1/subscriptions/").json()["items"]
    one = api.get(f"/polar/v1/subscriptions/{listed['id']}").json()
    for meters in (state["active_meters"], state["active_subscriptions"][0]["meters"], listed["meters"], one["meters"]):
        assert [meter["created_at"] for meter in meters] == OLDEST_FIRST


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("subscriptions/?current_period_end_before=soon", "datetime_parsing"),
        ("subscriptions/?current_period_end_before=9999-12-31T23:59:59-23:00", "datetime_parsing"),
        ("subscriptions/?cancel_at_period_end=x", "bool_parsing"),
        ("meters/?balance_below=nan", "float_parsing"),
        ("meters/?balance_below=1_0", "float_parsing"),
        ("benefit-grants/?benefit_id=x", "uuid_type"),
        ("benefit-grants/x", "uuid_parsing"),
        ("meters/00000000-0000-1000-8000-000000000000", "uuid_version"),
        ("meters/?status=x", "extra_forbidden"),
    ],
)
def test_wrong_values_are_told_of(organization: Organization, api: Client, query: str, kind: str) -> None:
    answer = api.get(f"/polar/v1/{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == kind


def test_organizations_are_told_apart(two_customers: Organization, api: Client) -> None:
    other = create_organization("other", polar_id=make_uuid("other"))
    foreign = build_state("c", organization_id=str(other.polar_id), subscriptions=[build_subscription("4")])
    apply_states(other, foreign, interval=read_at(0))
    assert found(api, f"subscriptions/?organization_id={other.polar_id}", "subscription") == ["4"]
