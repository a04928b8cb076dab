"""Right after a write Polar's own state is one of before it: a refresh answers the present state nevertheless."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.testing import FakePolar, FakePolarServer
from tests.factories import build_grant, build_subscription

pytestmark = pytest.mark.django_db
URL = "/polar/v1/customers/"
HELD = {"active_subscriptions": [build_subscription("s")], "granted_benefits": [build_grant("g")]}
NOTHING: dict[str, Any] = {"active_subscriptions": [], "granted_benefits": []}
LISTS = ("subscriptions:list", "benefit-grants:list", "customer-meters:list")


@pytest.fixture
def polar(settings: Settings, polar_server: FakePolarServer) -> FakePolar:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}
    Organization.objects.create(name="default", server=polar_server.url)
    return polar_server.polar


@pytest.fixture
def customer(polar: FakePolar, steering_api: Client) -> str:
    """One who was created over REST, and whose state Polar's cache holds from then on."""
    fields = {"email": "ada@example.com", "name": "Ada", "external_id": "usr_1"}
    answer = steering_api.post(URL, fields, content_type="application/json")
    assert answer.status_code == 201
    polar.hold_states()
    return str(answer.json()["id"])


def refresh(api: Client, customer: str, *, end: str = "") -> Any:
    answer = api.post(f"{URL}{customer}/refresh{end}")
    assert answer.status_code == 200, answer.content
    return answer


def change(polar: FakePolar, customer: str, children: dict[str, Any]) -> None:
    """As by somebody else who asks Polar; its cached state stays what it was."""
    polar.replace_state(customer, {**polar.get_state(customer), **children})


def read_held(state: Any) -> tuple[int, int]:
    return len(state["active_subscriptions"]), len(state["granted_benefits"])


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("path", ["{id}", "external/usr_1"])
def test_write_over_rest_is_in_the_refreshed_state(
    polar: FakePolar, customer: str, steering_api: Client, path: str, end: str
) -> None:
    written = steering_api.patch(
        f"{URL}{path.format(id=customer)}", {"name": "Renamed"}, content_type="application/json"
    )
    assert written.status_code == 200
    change(polar, customer, HELD)
    asked = polar.now()
    answer = refresh(steering_api, customer, end=end)
    assert (answer.json()["name"], read_held(answer.json())) == ("Renamed", (1, 1))
    assert answer.json() == steering_api.get(f"{URL}{customer}/state").json()
    assert datetime.fromisoformat(answer["X-Polar-Observed-At"]) < asked


@pytest.mark.parametrize(("before", "after", "held"), [(NOTHING, HELD, (1, 1)), (HELD, NOTHING, (0, 0))])
def test_what_came_and_went_on_polar_is_in_the_refreshed_state(
    polar: FakePolar, customer: str, steering_api: Client, before: Any, after: Any, held: tuple[int, int]
) -> None:
    change(polar, customer, before)
    polar.hold_states()
    assert read_held(refresh(steering_api, customer).json()) == read_held(before)
    change(polar, customer, after)
    for _ in range(2):
        assert read_held(refresh(steering_api, customer).json()) == held
    polar.renew_states()
    assert refresh(steering_api, customer).json() == polar.get_state(customer)


def test_refresh_takes_one_request_of_each_kind(polar: FakePolar, customer: str, steering_api: Client) -> None:
    polar.reset_counts()
    refresh(steering_api, customer)
    assert polar.counts == dict.fromkeys(("customers:get_state", "customers:get", *LISTS), 1)


def test_deletion_over_rest_is_not_undone(polar: FakePolar, customer: str, steering_api: Client) -> None:
    assert steering_api.delete(f"{URL}{customer}").status_code == 204
    assert steering_api.post(f"{URL}{customer}/refresh").status_code == 404
    assert steering_api.get(f"{URL}{customer}").status_code == 404


def test_customer_deleted_on_polar_whose_state_is_still_answered_is_gone(
    polar: FakePolar, customer: str, steering_api: Client
) -> None:
    polar.before("customers:get", lambda: polar.delete_customer(customer))
    assert steering_api.post(f"{URL}{customer}/refresh").status_code == 404


def test_without_scopes_for_the_lists_an_old_state_is_never_dated_as_of_now(
    polar: FakePolar, customer: str, steering_api: Client, settings: Settings
) -> None:
    token = polar.create_token(["customers:read", "customers:write"])
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "ACCESS_TOKEN": token}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"default": entry}}
    held_at = polar.now()
    steering_api.patch(f"{URL}{customer}", {"name": "Renamed"}, content_type="application/json")
    change(polar, customer, HELD)
    for _ in range(2):
        answer = refresh(steering_api, customer)
        assert (answer.json()["name"], read_held(answer.json())) == ("Renamed", (0, 0))
        assert datetime.fromisoformat(answer["X-Polar-Observed-At"]) <= held_at
