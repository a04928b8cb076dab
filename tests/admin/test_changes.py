"""What an open page asks for every second: cheap, and only where something may be seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.models import Customer, CustomerObservation, Organization
from tests.factories import apply_states, build_state, make_id, make_uuid, read_at

LIST = "/admin/polar_sync/customer/"
DOORS = (f"{LIST}changes.json", f"{LIST}{make_id('one')}/changes.json")
pytestmark = pytest.mark.django_db

every_door = pytest.mark.parametrize("door", DOORS, ids=("list", "page"))


@pytest.fixture(autouse=True)
def mirrored(organization: Organization) -> None:
    apply_states(organization, build_state("one"), build_state("two"), interval=read_at(0))


def ask(client: Client, door: str, tag: str = "") -> Any:
    return client.get(door, headers={"If-None-Match": tag} if tag else {})


@every_door
def test_what_has_not_changed_is_answered_without_a_body(viewer: Client, door: str) -> None:
    first = ask(viewer, door)
    assert first.status_code == 200
    again = ask(viewer, door, first["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert ask(viewer, door, f"W/{first['ETag']}").status_code == 304, "as proxies that compress make of it"


@every_door
def test_change_is_told_with_its_time(viewer: Client, door: str) -> None:
    tag = ask(viewer, door)["ETag"]
    moment = timezone.now() + timedelta(minutes=1)
    Customer.all_objects.filter(pk=make_uuid("one")).update(synced_at=moment)
    answer = ask(viewer, door, tag)
    assert answer.status_code == 200
    assert answer.json()["newest"] == int(moment.timestamp() * 1000)


def test_change_that_is_committed_after_a_later_one_is_told(viewer: Client) -> None:
    Customer.all_objects.filter(pk=make_uuid("two")).update(synced_at=timezone.now())
    tag = ask(viewer, DOORS[0])["ETag"]
    Customer.all_objects.filter(pk=make_uuid("one")).update(synced_at=timezone.now() - timedelta(seconds=9))
    assert ask(viewer, DOORS[0], tag).status_code == 200


def test_page_is_told_of_its_own_customer_alone(viewer: Client) -> None:
    tag = ask(viewer, DOORS[1])["ETag"]
    Customer.all_objects.filter(pk=make_uuid("two")).update(synced_at=timezone.now())
    assert ask(viewer, DOORS[1], tag).status_code == 304
    CustomerObservation.objects.filter(pk=make_uuid("one")).update(answered_at=timezone.now())
    assert ask(viewer, DOORS[1], tag).status_code == 200, "Polar was asked again"


@every_door
def test_it_costs_one_statement_beside_who_asks(admin_client: Client, door: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        ask(admin_client, door)
    assert [query["sql"] for query in queries if "polar_sync" in query["sql"]] == [queries[-1]["sql"]]
    assert len(queries) == 3


@every_door
def test_nothing_is_told_to_who_may_not_view_customers(make_client: Callable[..., Client], door: str) -> None:
    assert ask(make_client("view_subscription", is_viewer=False), door).status_code == 404
    assert ask(Client(), door).status_code == 302


def test_customer_who_is_not_there_is_404(viewer: Client) -> None:
    assert ask(viewer, f"{LIST}{make_id('nobody')}/changes.json").status_code == 404


def test_empty_mirror_has_no_newest_change(viewer: Client) -> None:
    Customer.all_objects.update(synced_at=None)
    assert ask(viewer, DOORS[0]).json()["newest"] is None


@pytest.mark.parametrize("path", [LIST, f"{LIST}{make_id('one')}/change/"])
def test_page_that_the_script_loads_leaves_messages_to_people(operator: Client, settings: Any, path: str) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}}
    operator.post(f"{LIST}{make_id('one')}/refresh/")
    text = "The settings do not allow it"
    assert text not in operator.get(path, headers={"X-Polar-Changes": "1"}).content.decode()
    assert text in operator.get(path).content.decode()
