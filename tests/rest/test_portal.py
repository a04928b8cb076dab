"""The customer's own view: of whoever is signed in, or of a session token that Polar knows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.testing import FakePolarServer
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
    assert "oauth_accounts" not in answer.json()
    assert answer.json()["tax_id"] == ["FR40303265045", "eu_vat"]
    assert browser.get(ME, headers={"If-None-Match": answer["ETag"]}).status_code == 304


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
    assert token not in repr(cache._cache)  # type: ignore[attr-defined]
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


def test_token_is_looked_for_on_every_server(settings: Settings, polar_server: FakePolarServer) -> None:
    with FakePolarServer() as second:
        customer = second.polar.create_customer(email="ada@example.com")
        organizations = settings.POLAR_SYNC["ORGANIZATIONS"]
        other = {"ACCESS_TOKEN": second.polar.access_token, "SERVER": second.url}
        settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {**organizations, "second": other}}
        answer = session(second.polar.create_session(customer["id"])["token"]).get(ME)
        assert answer.json()["id"] == customer["id"]
