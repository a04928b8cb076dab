"""Every recorded read, asked of the mirror: status, header names, body shape and error bodies are Polar's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.store import apply, observe_customer, observe_state
from polar_sync.testing import FakePolarServer
from tests.factories import at, create_organization, read_at
from tests.rest.conftest import RECORDED_ORGANIZATION, Exchange, sign_in

pytestmark = pytest.mark.django_db

# What the mirror does not have, and says so as Polar does of a path that there is not.
NOT_MIRRORED = {
    "benefits",
    "customer_members",
    "customer_payment_methods",
    "organization_get",
    "portal_session_introspect",
    "products",
}
# Shaped as in a state here, which is what is mirrored.
OWN_SHAPE = {
    "benefit_grants_by_customer",
    "benefit_grants_granted",
    "customer_meters_by_customer",
    "meters",
    "subscriptions_by_customer",
    "subscriptions_status",
}
# Better than recorded: both spellings answer at once, and an external id may hold a slash.
BETTER = {
    "customers_list_noslash_redirect": 200,
    "portal_me_slash": 404,
    "customer_external_slash_encoded": 200,
    "customer_external_slash_state": 200,
}
# There are fewer customers here than there were.
NO_SUCH_PAGE = {"customers_list_p10_last"}
SLASHED = "org/team/987"


@pytest.fixture
def situation(exchanges: dict[str, Exchange]) -> Organization:
    """The customers that the recorded reads show, as of each read."""
    organization = create_organization(polar_id=UUID(RECORDED_ORGANIZATION))
    observed = []
    for minute, exchange in enumerate(exchanges.values()):
        body = exchange["body"]
        if (
            exchange["method"] != "GET"
            or exchange["status"] != 200
            or not exchange["path"].startswith("/v1/customers/")
        ):
            continue
        bodies = body.get("items", [body])
        for item in bodies:
            if item.get("organization_id") == RECORDED_ORGANIZATION and "external_id" in item:
                observe = observe_state if "active_subscriptions" in item else observe_customer
                observed.append(observe(item, interval=read_at(minute)))
    slashed = {**exchanges["customer_state"]["body"], "id": "00000000-0000-4000-8000-000000000987"}
    observed.append(observe_state({**slashed, "external_id": SLASHED}, interval=read_at(0)))
    apply(observed, organization=organization)
    return organization


def get_reads(exchanges: dict[str, Exchange]) -> list[Exchange]:
    return [exchange for exchange in exchanges.values() if exchange["method"] in {"GET", "PUT"}]


def ask(exchange: Exchange, make_token: Callable[..., str], settings: Settings) -> Any:
    name = exchange["name"]
    token = make_token("view_customer")
    headers: dict[str, str] = {}
    match name:
        case "err_401_bad_token":
            token = "polar_oat_nonsense"
        case "err_401_expired_token":
            AuthToken.objects.all().update(expiry=at(0))
        case "err_401_no_token":
            token = ""
        case "err_403_scope":
            token = make_token()
        case "err_404_version":
            headers["Polar-Version"] = "1999-01"
        case "portal_me_with_oat_err":
            token = "polar_oat_of_polar"
        case "err_404_other_org":
            settings.POLAR_SYNC = {
                **settings.POLAR_SYNC,
                "REST_ORGANIZATION_RESOLVER": "tests.rest.resolvers.see_nothing",
            }
        case "err_429":
            settings.POLAR_SYNC = {
                **settings.POLAR_SYNC,
                "REST_THROTTLE_CLASSES": ["polar_sync.rest.throttles.ReadThrottle"],
                "REST_THROTTLE_RATES": {"read": "1/day"},
            }
            sign_in(token).get("/polar/v1/customers/")
    client = sign_in(token) if token else Client()
    return client.generic(exchange["method"], f"/polar{exchange['path']}", headers=headers)


def test_reads_are_answered_as_polar_answered_them(
    exchanges: dict[str, Exchange],
    situation: Organization,
    make_token: Callable[..., str],
    settings: Settings,
    polar_server: FakePolarServer,
) -> None:
    reads = [exchange for exchange in get_reads(exchanges) if exchange["name"] not in NOT_MIRRORED | {"portal_me"}]
    assert len(reads) > 50
    mirror_settings = settings.POLAR_SYNC
    for exchange in reads:
        settings.POLAR_SYNC = mirror_settings
        answer = ask(exchange, make_token, settings)
        name = exchange["name"]
        assert answer.status_code == BETTER.get(name, exchange["status"]), name
        if name in BETTER:
            continue
        wanted = {header.lower() for header in exchange["headers"]} - {"content-length", "date", "server"}
        assert wanted <= {header.lower() for header in answer.headers}, name
        compare_headers(answer, exchange)
        compare_body(answer, exchange)


def compare_headers(answer: Any, exchange: Exchange) -> None:
    recorded = {name.lower(): value for name, value in exchange["headers"].items()}
    for name in ("content-type", "polar-version", "www-authenticate"):
        assert answer.headers.get(name) == recorded.get(name), (exchange["name"], name)


def compare_body(answer: Any, exchange: Exchange) -> None:
    name, recorded = exchange["name"], exchange["body"]
    if not answer.content:
        assert recorded is None, name
        return
    body = answer.json()
    if exchange["status"] >= 400:
        assert body == recorded, name
    elif name in OWN_SHAPE:
        assert body.keys() == recorded.keys(), name
    elif "items" in body:
        assert sorted(body["pagination"]) == sorted(recorded["pagination"]), name
        keys = {tuple(sorted(item)) for item in body["items"]}
        assert keys == {tuple(sorted(item)) for item in recorded["items"]} or name in NO_SUCH_PAGE, name
    else:
        assert body.keys() == recorded.keys(), name


def test_what_is_not_mirrored_is_said_plainly(
    exchanges: dict[str, Exchange], situation: Organization, api: Client
) -> None:
    for name in NOT_MIRRORED:
        answer = api.get(f"/polar{exchanges[name]['path']}")
        assert answer.status_code == 404, name
        assert answer.json() == {"detail": "Not Found"}
        assert answer["Polar-Version"] == "2026-04"


def test_recorded_values_come_back_where_they_are_of_mirrored_customers(
    exchanges: dict[str, Exchange], situation: Organization, api: Client
) -> None:
    email = api.get(f"/polar{exchanges['customers_list_email']['path']}").json()
    assert [item["email"] for item in email["items"]] == ["user1.A@mail.example.org"]
    for item in api.get(f"/polar{exchanges['customers_list_query']['path']}").json()["items"]:
        assert "李" in item["name"]
    assert api.get(f"/polar/v1/customers/external/{SLASHED}").json()["external_id"] == SLASHED
