"""The customer's own view: of whoever is signed in, or of a session token that Polar knows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from jsonschema import Draft202012Validator, FormatChecker
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.rest import portal
from polar_sync.testing import FakePolarServer
from polar_sync.tokens import Token
from tests.factories import (
    apply_absences,
    apply_states,
    build_state,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)

pytestmark = pytest.mark.django_db
ME = "/polar/v1/customer-portal/customers/me"
HIDDEN = {"organization_id", "external_id", "metadata", "avatar_url", "deleted_at", "first_user_event_at", "internal"}


@pytest.fixture
def user(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("ada", email="7@example.com")


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def session(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def test_user_sees_the_customer_whose_external_id_is_theirs(
    organization: Organization, browser: Client, user: Any
) -> None:
    apply_states(
        organization, build_state("a", external_id=str(user.pk), internal="note"), build_state("b"), interval=read_at(0)
    )
    answer = browser.get(ME)
    assert answer.status_code == 200
    assert answer.json()["id"] == make_id("a")
    assert not HIDDEN & answer.json().keys()
    assert answer.json()["oauth_accounts"] == {}
    assert answer.json()["tax_id"] == ["FR40303265045", "eu_vat"]
    assert browser.get(ME, headers={"If-None-Match": answer["ETag"]}).status_code == 304


def test_signed_in_user_gets_what_polars_contract_promises(
    organization: Organization, browser: Client, user: Any, contract: dict[str, Any]
) -> None:
    # As older servers answered: without what came later.
    state = build_state("a", external_id=str(user.pk))
    del state["billing_name"], state["default_payment_method_id"], state["locale"]
    apply_states(organization, state, interval=read_at(0))
    schema = {"$ref": "#/components/schemas/CustomerPortalCustomer", "components": contract["components"]}
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    answer = browser.get(ME).json()
    assert not list(validator.iter_errors(answer))
    assert answer.keys() == contract["components"]["schemas"]["CustomerPortalCustomer"]["properties"].keys()


def test_email_is_never_a_link(organization: Organization, browser: Client, user: Any) -> None:
    apply_states(organization, build_state("a", external_id=None, email=user.email), interval=read_at(0))
    assert browser.get(ME).status_code == 404


def test_deleted_customer_is_not_shown(organization: Organization, browser: Client, user: Any) -> None:
    apply_states(organization, build_state("a", external_id=str(user.pk)), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    assert browser.get(ME).status_code == 404


def test_project_may_link_otherwise(organization: Organization, browser: Client, user: Any, settings: Settings) -> None:
    apply_states(
        organization,
        build_state("a", external_id=str(user.pk)),
        build_state("b", external_id="ada"),
        interval=read_at(0),
    )
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "CUSTOMER_RESOLVER": "tests.rest.resolvers.find_by_username"}
    assert browser.get(ME).json()["id"] == make_id("b")
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "CUSTOMER_RESOLVER": "tests.rest.resolvers.find_nobody"}
    assert browser.get(ME).status_code == 404


def test_customer_of_two_organizations_says_which(organization: Organization, browser: Client, user: Any) -> None:
    other = create_organization("other", polar_id=make_uuid("other"))
    own: dict[str, Any] = {"external_id": str(user.pk)}
    apply_states(organization, build_state("a", **own), interval=read_at(0))
    apply_states(other, build_state("b", organization_id=str(other.polar_id), **own), interval=read_at(0))
    assert browser.get(ME).status_code == 422
    assert browser.get(f"{ME}?organization_id={other.polar_id}").json()["id"] == make_id("b")


def test_user_sees_nothing_else(organization: Organization, browser: Client, user: Any) -> None:
    apply_states(organization, build_state("a", external_id=str(user.pk)), interval=read_at(0))
    for path in ("/polar/v1/customers/", f"/polar/v1/customers/{make_id('a')}/state", "/polar/v1/subscriptions/"):
        assert browser.get(path).status_code == 403


@pytest.mark.parametrize("method", ["get", "options"])
def test_strangers_see_nothing(organization: Organization, method: str) -> None:
    assert getattr(Client(), method)(ME).status_code == 401


def test_session_token_gets_polars_own_answer_cached_under_its_hash(polar_server: FakePolarServer) -> None:
    polar = polar_server.polar
    customer = polar.create_customer(email="ada@example.com", name="Ada")
    token = polar.create_session(customer["id"])["token"]
    polar.reset_counts()
    first = session(token).get(ME)
    assert first.status_code == 200
    assert (first.json()["name"], first.json()["oauth_accounts"]) == ("Ada", {})
    polar.update_customer(customer["id"], name="Later")
    assert session(token).get(ME).json() == first.json()
    assert sum(polar.counts.values()) == 1
    kept = repr(cache._cache)  # type: ignore[attr-defined]
    assert token not in kept
    # Nor what a list of stolen tokens could be compared with.
    assert Token(token).get_digest() not in kept
    assert first["Cache-Control"] == "private, no-store"


def test_made_up_session_token_is_refused_and_asked_for_once(polar_server: FakePolarServer) -> None:
    for _ in range(3):
        answer = session("polar_cst_made_up").get(ME)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert "made_up" not in answer.content.decode()
    assert len(polar_server.polar.requests) == 1


def test_session_token_opens_nothing_else(organization: Organization, polar_server: FakePolarServer) -> None:
    customer = polar_server.polar.create_customer(email="ada@example.com")
    token = polar_server.polar.create_session(customer["id"])["token"]
    polar_server.polar.reset_counts()
    for path in ("/polar/v1/customers/", "/polar/v1/sync/status", f"/polar/v1/customers/{customer['id']}"):
        assert session(token).get(path).status_code == 401
    assert not polar_server.polar.counts


def test_made_up_tokens_are_throttled(settings: Settings, polar_server: FakePolarServer) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_THROTTLE_RATES": {"portal": "2/min"}}
    statuses = [session(f"polar_cst_{number}").get(ME).status_code for number in range(3)]
    assert statuses == [401, 401, 429]


def flood(client: Client, number: int) -> list[int]:
    """Made-up tokens, each from an address that it claims for itself."""
    return [
        client.get(
            ME, headers={"Authorization": f"Bearer polar_cst_{one}", "X-Forwarded-For": f"10.0.{one}.1"}
        ).status_code
        for one in range(number)
    ]


def test_flood_of_made_up_tokens_reaches_polar_up_to_the_limit(polar_server: FakePolarServer) -> None:
    statuses = flood(Client(), 150)
    assert (statuses.count(401), statuses.count(429)) == (60, 90)
    assert len(polar_server.polar.requests) == 60


def test_addresses_are_those_that_the_proxies_of_the_project_have_seen(
    settings: Settings, polar_server: FakePolarServer
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_THROTTLE_RATES": {"portal": "1/min"}}
    settings.REST_FRAMEWORK = {"NUM_PROXIES": 1}

    def ask(forwarded: str) -> int:
        return session("polar_cst_made_up").get(ME, headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask("192.0.2.1"), ask("192.0.2.2")] == [401, 401]
    assert [ask("192.0.2.3, 192.0.2.1"), ask("spoofed, 192.0.2.2")] == [429, 429]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", 429),
        ("2001:db8::1", "2001:db8:0:1::1", 401),
        ("::ffff:192.0.2.1", "192.0.2.1", 429),
        ("192.0.2.1", "192.0.2.2", 401),
        ("", "", 429),
    ],
)
def test_who_has_many_addresses_is_counted_once(
    settings: Settings, polar_server: FakePolarServer, first: str, second: str, status: int
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_THROTTLE_RATES": {"portal": "1/min"}}
    made_up = session("polar_cst_made_up")
    assert made_up.get(ME, REMOTE_ADDR=first).status_code == 401
    assert made_up.get(ME, REMOTE_ADDR=second).status_code == status


def test_flood_does_not_shut_out_who_has_a_good_token(
    polar_server: FakePolarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CACHE_SECONDS", 0)  # each time Polar is asked again
    customer = polar_server.polar.create_customer(email="ada@example.com")
    good = session(polar_server.polar.create_session(customer["id"])["token"])
    assert good.get(ME).status_code == 200
    assert 429 in flood(Client(), 70)
    assert good.get(ME).status_code == 200


def test_flood_from_everywhere_uses_up_nothing_of_the_good_tokens(
    settings: Settings, polar_server: FakePolarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CACHE_SECONDS", 0)
    organization = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "REQUESTS_PER_MINUTE": 25}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"default": organization}}
    settings.REST_FRAMEWORK = {"NUM_PROXIES": 1}
    customer = polar_server.polar.create_customer(email="ada@example.com")
    good = session(polar_server.polar.create_session(customer["id"])["token"])
    assert good.get(ME).status_code == 200
    assert flood(Client(), 6) == [401] * 4 + [429] * 2
    assert good.get(ME).status_code == 200


def test_good_token_is_throttled_too_and_another_is_not_by_it(
    settings: Settings, polar_server: FakePolarServer
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_THROTTLE_RATES": {"portal": "2/min"}}
    customer = polar_server.polar.create_customer(email="ada@example.com")
    first, second = (session(polar_server.polar.create_session(customer["id"])["token"]) for _ in range(2))
    assert [first.get(ME).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert second.get(ME).status_code == 200


def test_token_that_polar_no_longer_knows_is_one_of_the_others_again(
    settings: Settings, polar_server: FakePolarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "CACHE_SECONDS", 0)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_THROTTLE_RATES": {"portal": "3/min"}}
    customer = polar_server.polar.create_customer(email="ada@example.com")
    client = session(polar_server.polar.create_session(customer["id"])["token"])
    assert client.get(ME).status_code == 200
    polar_server.polar.delete_customer(customer["id"])
    # Two of the address are left, and the first of these was the token's own.
    assert [client.get(ME).status_code for _ in range(4)] == [401, 401, 401, 429]


def test_token_is_looked_for_on_every_server(settings: Settings, polar_server: FakePolarServer) -> None:
    with FakePolarServer() as second:
        customer = second.polar.create_customer(email="ada@example.com")
        organizations = settings.POLAR_SYNC["ORGANIZATIONS"]
        other = {"ACCESS_TOKEN": second.polar.access_token, "SERVER": second.url}
        settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {**organizations, "second": other}}
        answer = session(second.polar.create_session(customer["id"])["token"]).get(ME)
        assert answer.json()["id"] == customer["id"]
