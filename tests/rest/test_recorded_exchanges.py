"""Every recorded exchange, asked of the mirror: what is not as Polar answered it is listed here, with the reason.

A difference that is not listed fails, and so does one that is listed and gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.payloads import Interval
from polar_sync.store import apply, observe_customer, observe_state
from polar_sync.testing import FakePolar, FakePolarServer
from tests.factories import at, build_subscription, create_organization
from tests.rest.conftest import RECORDED_ORGANIZATION, Exchange, sign_in
from tests.rest.differences import compare

pytestmark = pytest.mark.django_db

SLASHED = {"id": "00000000-0000-4000-8000-000000000987", "external_id": "org/team/987"}
_OTHER_SERVICE = "The mirror holds customers and what they have; of anything else there is no path."
_STATE_SHAPE = "Listed as a state holds it, which is what is mirrored, and not in the shape of Polar's own list."
_CATALOGUE = "At this path are customers' meters; the mirror knows an organization's own by name only."
_READ_ONLY = "Subscriptions are changed on Polar alone."
_NO_BODY = "What has no body has no type either; Django REST framework takes it off."
_SLASHES = "Both spellings of a path are answered at once, where Polar redirects."
_SLASHED_IDS = "External ids that hold a slash can be addressed here."
_ALLOW = "All methods of the path are named, where Polar names the first."
_NO_PATH = ["status: 200 is 404"]
KNOWN: dict[str, tuple[str, list[str]]] = {
    **dict.fromkeys(
        ("benefits", "customer_members", "customer_payment_methods", "organization_get", "products"),
        (_OTHER_SERVICE, _NO_PATH),
    ),
    "portal_session_introspect": (_OTHER_SERVICE, _NO_PATH),
    **dict.fromkeys(
        ("customer_session_create", "customer_session_create_ext"), (_OTHER_SERVICE, ["status: 201 is 404"])
    ),
    "customer_session_team_422": (_OTHER_SERVICE, ["status: 201 is 404"]),
    "customer_session_unknown_422": (_OTHER_SERVICE, ["status: 422 is 404"]),
    "product_benefits": (_OTHER_SERVICE, _NO_PATH),
    "product_create": (_OTHER_SERVICE, ["status: 201 is 404"]),
    "customers_list_noslash_redirect": (_SLASHES, ["status: 307 is 200"]),
    "portal_me_slash": (_SLASHES, ["status: 307 is 404"]),
    "customer_external_slash_encoded": (_SLASHED_IDS, ["status: 404 is 200"]),
    "customer_external_slash_state": (_SLASHED_IDS, ["status: 404 is 200"]),
    **{
        name: (_STATE_SHAPE, [f"body.items: 0 of {count}"])
        for name, count in {
            "benefit_grants_by_customer": 3,
            "benefit_grants_granted": 1,
            "customer_meters_by_customer": 2,
            "subscriptions_by_customer": 3,
            "subscriptions_status": 1,
        }.items()
    },
    "meters": (_CATALOGUE, ["body.items: 0 of 2"]),
    "subscription_create": (_READ_ONLY, ["status: 201 is 405"]),
    **dict.fromkeys(
        ("subscription_cancel", "subscription_revoke", "subscription_revoke2"), (_READ_ONLY, ["status: 200 is 405"])
    ),
    "customer_delete": (_NO_BODY, ["header content-type: 'application/json' is None"]),
    "err_405": (_ALLOW, ["header allow: 'GET' is 'GET, PATCH, DELETE, HEAD, OPTIONS'"]),
}
# On some answers and never on Polar's.
OWN_HEADERS = {
    "allow": "What may be done here; Django REST framework puts it on every answer.",
    "cache-control": "A cache on the way must not guess how long somebody's data stays good.",
    "cross-origin-opener-policy": "Django's own, by the project's middleware.",
    "etag": "Conditional requests.",
    "last-modified": "Conditional requests.",
    "referrer-policy": "Django's own, by the project's middleware.",
    "vary": "What an answer depends on.",
    "x-content-type-options": "Django's own, by the project's middleware.",
    "x-frame-options": "Django's own, by the project's middleware.",
    "x-polar-observed-at": "As of when the answer is true.",
    "x-polar-sync-reason": "Why there is no balance any more.",
}
_TRANSPORT = {"date", "content-length", "server"}
# The fake server that is written to makes its own.
_MADE = {"id", "created_at", "modified_at", "avatar_url", "organization_id"}
LIFE = [
    *("customer_create", "customer_create_team", "customer_create_dup_email_422", "customer_create_dup_extid_422"),
    *("customer_create_invalid_422", "customer_create_badjson_422", "customer_patch", "customer_patch_null"),
    *("customer_patch_external_change", "customer_patch_by_external", "customer_delete"),
    *("customer_get_after_delete_404", "customer_state_after_delete_404", "customer_delete_again_404"),
]
# Asked with a session of Polar's own, for which tests/rest/test_portal.py answers.
APART = {"portal_me", *LIFE}


@pytest.fixture
def mirroring(settings: Settings, polar_server: FakePolarServer) -> FakePolarServer:
    """A mirror that writes through to a fake Polar server."""
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}
    return polar_server


def test_differences_from_polars_answers_are_the_known_ones(
    exchanges: dict[str, Exchange], make_token: Callable[..., str], settings: Settings, mirroring: FakePolarServer
) -> None:
    told = settings.POLAR_SYNC
    found: dict[str, list[str]] = {}
    headers: set[str] = set()
    for name, exchange in exchanges.items():
        if name in APART:
            continue
        settings.POLAR_SYNC = told
        with transaction.atomic():
            # What a balance is asked of has to be here.
            mirror(exchanges["customer_get"] if name == "customer_balance_404" else exchange)
            answer = ask(exchange, make_token, settings)
            transaction.set_rollback(True)
        differences = list_differences(exchange, answer)
        found |= {name: differences} if differences else {}
        if answer.status_code == exchange["status"]:
            headers |= {header.lower() for header in answer.headers} - exchange["headers"].keys()
    assert found == {name: differences for name, (_, differences) in KNOWN.items() if name not in APART}
    assert headers - _TRANSPORT == OWN_HEADERS.keys()


def test_customer_is_written_and_gone_as_on_polar(
    exchanges: dict[str, Exchange], make_token: Callable[..., str], mirroring: FakePolarServer
) -> None:
    """One customer's life, in the order in which it was recorded."""
    Organization.objects.create(name="default", server=mirroring.url)
    client = sign_in(make_token("view_customer", "write_customer_to_polar"))
    made: dict[str, str] = {}
    for name in LIFE:
        exchange = exchanges[name]
        path = exchange["path"]
        for theirs, ours in made.items():
            path = path.replace(theirs, ours)
        body = b"{bad json" if name == "customer_create_badjson_422" else json.dumps(exchange["request_body"])
        sent = b"" if exchange["method"] in {"GET", "DELETE"} else body
        answer = client.generic(exchange["method"], f"/polar{path}", data=sent, content_type="application/json")
        if name == "customer_create":
            made[exchange["body"]["id"]] = answer.json()["id"]
        assert list_differences(exchange, answer, passing_over=_MADE) == KNOWN.get(name, ("", []))[1], name


def mirror(exchange: Exchange) -> None:
    """Just what the exchange shows, as of when it was recorded."""
    body, path = exchange["body"], exchange["path"]
    if exchange["status"] != 200 or exchange["method"] != "GET" or not path.startswith("/v1/customers/"):
        body = {}
    owner = (
        "8e7031c8-3677-4e31-87ba-d6989c4a753f" if exchange["name"] == "customers_list_orgB" else RECORDED_ORGANIZATION
    )
    organization = create_organization(polar_id=UUID(owner))
    seen = Interval.at(at(0))
    observed = [observe_customer(item, interval=seen) for item in _list_own(body)]
    if "active_subscriptions" in body:
        observed += [observe_state(body, interval=seen)]
    elif "active=true" in path:
        # The list does not tell of what makes them active.
        children: dict[str, Any] = {"granted_benefits": [], "active_meters": []}
        states = [
            {**item, **children, "active_subscriptions": [build_subscription(item["id"])]} for item in _list_own(body)
        ]
        observed += [observe_state(state, interval=seen) for state in states]
    if "slash" in exchange["name"]:
        state = {**build_slashed(), "organization_id": RECORDED_ORGANIZATION}
        observed += [observe_customer(state, interval=seen), observe_state(state, interval=seen)]
    apply(observed, organization=organization)


def build_slashed() -> dict[str, Any]:
    polar = FakePolar(seed=1)
    return {**polar.get_state(polar.create_customer(external_id=SLASHED["external_id"])["id"]), **SLASHED}


def _list_own(body: Any) -> list[dict[str, Any]]:
    items = body.get("items", [body] if body else [])
    return [
        {name: value for name, value in item.items() if not name.startswith(("active_", "granted_"))} for item in items
    ]


def ask(exchange: Exchange, make_token: Callable[..., str], settings: Settings) -> Any:
    name = exchange["name"]
    token = make_token("view_customer", "write_customer_to_polar", "view_syncrun")
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
        case "err_403_scope_write":
            token = make_token("view_customer")
        case "err_404_version":
            headers["Polar-Version"] = "1999-01"
        case "portal_me_with_oat_err":
            token = "polar_oat_of_polar"
        case "err_404_other_org":
            resolver = {"REST_ORGANIZATION_RESOLVER": "tests.rest.resolvers.see_nothing"}
            settings.POLAR_SYNC = {**settings.POLAR_SYNC, **resolver}
        case "err_429":
            settings.POLAR_SYNC = {
                **settings.POLAR_SYNC,
                "REST_THROTTLE_CLASSES": ["polar_sync.rest.throttles.ReadThrottle"],
                "REST_THROTTLE_RATES": {"read": "1/min"},
            }
            sign_in(token).get("/polar/v1/customers/")
    # The page that was recorded is the only one here.
    path = exchange["path"].replace("page=10", "page=1")
    client = sign_in(token) if token else Client()
    sent = b"" if exchange["request_body"] is None else json.dumps(exchange["request_body"])
    return client.generic(
        exchange["method"], f"/polar{path}", data=sent, content_type="application/json", headers=headers
    )


def list_differences(exchange: Exchange, answer: Any, *, passing_over: Collection[str] = ()) -> list[str]:
    if answer.status_code != exchange["status"]:
        return [f"status: {exchange['status']} is {answer.status_code}"]
    ours = {name.lower(): value for name, value in answer.headers.items()}
    found = []
    for name, value in exchange["headers"].items():
        if name == "retry-after":
            assert 0 < int(ours[name]) <= int(value)
        elif name not in _TRANSPORT and ours.get(name) != value:
            found.append(f"header {name}: {value!r} is {ours.get(name)!r}")
    theirs, body = exchange["body"], answer.json() if answer.content else None
    return found + list(compare(_simplify(theirs, passing_over), _simplify(body, passing_over)))


def _simplify(body: Any, passing_over: Collection[str]) -> Any:
    if not isinstance(body, dict):
        return body
    if "items" not in body:
        return {name: value for name, value in body.items() if name not in passing_over}
    # How many there are is not the same, as this mirror has one page; ties go by id here and anyhow on Polar.
    items = sorted(body["items"], key=lambda item: str(item["id"]))
    return {"items": items, "pagination": sorted(body["pagination"])}
