"""The fake server beside the real one: every recorded exchange that it serves, in an equivalent situation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from polar_sync.testing import FakePolar
from tests.testing.asking import Reply, ask

Exchange = dict[str, Any]
RECORDED_ORGANIZATION = "c358c206-cc44-40eb-8079-81a5c4f825ad"
LISTED_CUSTOMERS = 952
LISTED_UNTIL = "2026-11-20T23:19:00Z"
# Younger than the recorded last page, older than the first.
FILLER_CREATED = "2026-08-22T23:11:49Z"

AT_REST = [
    "customer_balance_404",
    "customer_external",
    "customer_external_404",
    "customer_external_slash_encoded",
    "customer_external_slash_state",
    "customer_external_state",
    "customer_external_weird",
    "customer_get",
    "customer_get_team",
    "customer_get_team_null_email",
    "customer_state",
    "customer_state_after_revoke",
    "customer_state_after_sub",
    "customer_state_rich",
    "customer_state_team_null_email",
    "customer_state_with_grants",
    "customer_session_unknown_422",
    "customer_session_team_422",
    "customers_list_active_false",
    "customers_list_active_true",
    "customers_list_beyond",
    "customers_list_default",
    "customers_list_email",
    "customers_list_limit1000",
    "customers_list_metadata",
    "customers_list_noslash_redirect",
    "customers_list_orgB",
    "customers_list_org_filter_other",
    "customers_list_p1",
    "customers_list_p10_last",
    "customers_list_query",
    "customers_list_sort_email",
    "customers_list_sort_multi",
    "err_401_bad_token",
    "err_401_expired_token",
    "err_401_no_token",
    "err_403_scope",
    "err_403_scope_write",
    "err_404_customer",
    "err_404_other_org",
    "err_404_version",
    "err_405",
    "err_422_bad_uuid",
    "err_422_limit0",
    "err_422_limit_neg",
    "err_422_page0",
    "err_422_sorting",
    "err_429",
    "portal_me_slash",
    "portal_me_with_oat_err",
]
# One customer's life, in the order in which it was recorded.
LIFE = [
    "customer_create",
    "customer_create_team",
    "customer_create_dup_email_422",
    "customer_create_dup_extid_422",
    "customer_create_invalid_422",
    "customer_create_badjson_422",
    "customer_patch",
    "customer_patch_null",
    "customer_patch_external_change",
    "customer_patch_by_external",
    "customer_session_create",
    "customer_session_create_ext",
    "portal_me",
    "customer_delete",
    "customer_get_after_delete_404",
    "customer_state_after_delete_404",
    "customer_delete_again_404",
]
OTHER_LISTS = [
    "benefit_grants_by_customer",
    "benefit_grants_granted",
    "benefits",
    "customer_meters_by_customer",
    "meters",
    "products",
    "subscriptions_by_customer",
    "subscriptions_status",
]
NOT_SERVED = [
    "customer_members",
    "customer_payment_methods",
    "organization_get",
    "portal_session_introspect",
    "product_benefits",
    "product_create",
    "subscription_cancel",
    "subscription_create",
    "subscription_revoke",
    "subscription_revoke2",
]


def test_every_recorded_exchange_is_accounted_for(exchanges: dict[str, Exchange]) -> None:
    assert sorted([*AT_REST, *LIFE, *OTHER_LISTS, *NOT_SERVED]) == sorted(exchanges)


@pytest.mark.parametrize("name", AT_REST)
def test_recorded_exchange_is_answered_alike(name: str, exchanges: dict[str, Exchange]) -> None:
    exchange = exchanges[name]
    polar = build_situation(exchanges, last=name)
    expired = polar.create_token(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    other = polar.add_organization(organization_id="8e7031c8-3677-4e31-87ba-d6989c4a753f")
    for item in exchanges["customers_list_orgB"]["body"]["items"]:
        other.put_raw_item(item)
    tokens = {
        "err_401_bad_token": "polar_oat_nonsense",
        "err_401_expired_token": expired,
        "err_401_no_token": None,
        "err_403_scope": polar.create_token(["products:read"]),
        "err_403_scope_write": polar.create_token(["customers:read"]),
        "err_404_other_org": other.access_token,
        "customers_list_orgB": other.access_token,
    }
    if name == "err_429":
        polar.rate_limit = 0
    version = {"Polar-Version": "1999-01" if name == "err_404_version" else "2026-04"}

    reply = ask(
        polar,
        exchange["path"],
        method=exchange["method"],
        token=tokens.get(name, "its own"),
        body=exchange["request_body"],
        headers={**version, "Host": "api.example.test"},
    )

    assert_alike(reply, exchange)
    is_same_object = exchange["path"].rpartition("/")[2] != "" and "?" not in exchange["path"]
    if reply.status == 200 and is_same_object:
        assert reply.json == exchange["body"]


@pytest.mark.parametrize("name", ["default", "p1", "p10_last", "beyond", "limit1000", "sort_email", "sort_multi"])
def test_unfiltered_lists_are_paged_and_sorted_alike(name: str, exchanges: dict[str, Exchange]) -> None:
    exchange = exchanges[f"customers_list_{name}"]
    polar = build_situation(exchanges, last=exchange["name"])
    body = ask(polar, exchange["path"]).json
    assert body["pagination"] == exchange["body"]["pagination"]
    assert len(body["items"]) == len(exchange["body"]["items"])
    # Equal sort keys have no order on Polar, so the keys are compared and not the customers.
    key = {"sort_email": "email", "sort_multi": "name"}.get(name, "created_at")
    assert [item[key] for item in body["items"]] == [item[key] for item in exchange["body"]["items"]]


def test_email_filter_finds_the_recorded_customer(exchanges: dict[str, Exchange]) -> None:
    exchange = exchanges["customers_list_email"]
    assert ask(build_situation(exchanges), exchange["path"]).json == exchange["body"]


@pytest.mark.parametrize("name", OTHER_LISTS)
def test_other_list_is_answered_alike(name: str, exchanges: dict[str, Exchange]) -> None:
    exchange = exchanges[name]
    polar = build_lists(exchanges)
    reply = ask(polar, exchange["path"])
    assert_alike(reply, exchange)
    made, recorded = reply.json["items"], exchange["body"]["items"]
    assert [list(item) for item in made] == [list(item) for item in recorded]
    # The lists of all hold more customers in the recording, so that another row comes first there.
    if "limit=1&" not in exchange["path"] and not exchange["path"].endswith("limit=1"):
        assert reply.json["pagination"] == exchange["body"]["pagination"]
        assert sort_by_id(strip_tokens(made)) == sort_by_id(strip_tokens(recorded))


def build_lists(exchanges: dict[str, Exchange]) -> FakePolar:
    """The recorded catalogue, and the state that the recorded rows of one customer tell of."""
    polar = FakePolar(organization_id=RECORDED_ORGANIZATION)
    names = ("products", "benefits", "meters")
    polar.shelf.replace(**{name: copy.deepcopy(exchanges[name]["body"]["items"]) for name in names})
    customer = exchanges["subscriptions_by_customer"]["body"]["items"][0]["customer"]
    polar.put_state(
        {
            **customer,
            "active_subscriptions": [
                strip_nested(one) for one in exchanges["subscriptions_by_customer"]["body"]["items"]
            ],
            "granted_benefits": [
                {
                    **strip_nested(one),
                    "benefit_type": one["benefit"]["type"],
                    "benefit_metadata": one["benefit"]["metadata"],
                }
                for one in exchanges["benefit_grants_by_customer"]["body"]["items"]
            ],
            "active_meters": [strip_nested(one) for one in exchanges["customer_meters_by_customer"]["body"]["items"]],
        }
    )
    return polar


def strip_nested(item: dict[str, Any]) -> dict[str, Any]:
    """A list's item with the fields that a state has, or could have."""
    nested = {"customer", "user", "user_id", "customer_id", "product", "price", "prices", "benefit", "meter", "meters"}
    own = {key: value for key, value in item.items() if key not in nested}
    if "meters" in item:
        own["meters"] = [strip_nested(one) for one in item["meters"]]
    return own


def test_one_customers_life_is_answered_alike(exchanges: dict[str, Exchange]) -> None:
    polar = FakePolar(organization_id=RECORDED_ORGANIZATION)
    recorded_id = exchanges["customer_create"]["body"]["id"]
    own_id = session = ""
    for name in LIFE:
        exchange = exchanges[name]
        is_broken = name == "customer_create_badjson_422"
        reply = ask(
            polar,
            exchange["path"].replace(recorded_id, own_id or recorded_id),
            method=exchange["method"],
            token=session if name == "portal_me" else "its own",
            body=b"{bad json" if is_broken else replace_id(exchange["request_body"], recorded_id, own_id),
        )
        assert_alike(reply, exchange)
        if name == "customer_create":
            own_id = reply.json["id"]
        if name == "customer_session_create":
            session = reply.json["token"]
        if reply.status < 300 and reply.body:
            assert strip_made_up(reply.json) == strip_made_up(exchange["body"]), name
    assert polar.deleted_customers[own_id]["external_id"] is None


def build_situation(exchanges: dict[str, Exchange], *, last: str = "customer_get") -> FakePolar:
    """An organization with the customers that the recorded reads show, `last` having the last word.

    For a list it has as many customers as the organization had when the lists were recorded.
    """
    polar = FakePolar(organization_id=RECORDED_ORGANIZATION)
    is_list = last.startswith("customers_list")
    for name in (*AT_REST, last):
        for customer in find_customers(exchanges[name]):
            if is_list and customer["created_at"] > LISTED_UNTIL:
                continue
            if customer["organization_id"] == RECORDED_ORGANIZATION:
                if "active_meters" in customer:
                    polar.put_state(customer)
                elif customer["id"] not in polar.customers:
                    polar.put_raw_item(customer)
    while is_list and len(polar.customers) < LISTED_CUSTOMERS:
        number = len(polar.customers)
        polar.create_customer(created_at=FILLER_CREATED, name=f"Filler {number}", email=f"zz{number}@example.com")
    return polar


def find_customers(exchange: Exchange) -> Iterator[dict[str, Any]]:
    body = exchange["body"]
    if exchange["status"] == 200 and isinstance(body, dict):
        yield from body.get("items", [body])
    elif exchange["name"] == "customer_session_team_422":
        yield body["customer"]


def assert_alike(reply: Reply, exchange: Exchange) -> None:
    """Status, names (and values) of the headers, shape of the body; the body of an error exactly."""
    assert reply.status == exchange["status"], reply.body
    assert reply.polar_headers.keys() == exchange["headers"].keys()
    for header, value in exchange["headers"].items():
        got = reply.polar_headers[header]
        assert urlsplit(got)[1:] == urlsplit(value)[1:] if header == "location" else got == value
    if exchange["body"] is None:
        assert reply.body == b""
    elif reply.status >= 400:
        assert reply.json == exchange["body"]
    else:
        assert describe_shape(reply.json) == describe_shape(exchange["body"])


def describe_shape(value: Any) -> Any:
    """Keys and JSON types; of a list of customers only which keys its items have."""
    if isinstance(value, dict) and "items" in value:
        keys = {key for item in value["items"] for key in item}
        return {"items": sorted(keys), "pagination": describe_shape(value["pagination"])}
    if isinstance(value, dict):
        return {key: describe_shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [describe_shape(item) for item in value]
    return type(value).__name__


def strip_tokens(value: Any) -> Any:
    """Without the token that Polar signs anew in every answer, wherever it is."""
    if isinstance(value, list):
        return [strip_tokens(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: strip_tokens(item) for key, item in value.items() if key != "guild_token"}


def sort_by_id(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: str(item["id"]))


def replace_id(body: Any, recorded_id: str, own_id: str) -> Any:
    if isinstance(body, dict) and body.get("customer_id") == recorded_id:
        return {**body, "customer_id": own_id}
    return body


def strip_made_up(value: Any) -> Any:
    """Without what every server makes up by itself: ids, times, tokens, links."""
    made_up = {"id", "created_at", "modified_at", "expires_at", "token", "customer_id", "customer_portal_url"}
    if not isinstance(value, dict):
        return value
    return {key: strip_made_up(item) for key, item in value.items() if key not in made_up}
