"""A recorded organization of a real Polar server, mirrored by the command."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from polar_sync.models import Customer, Meter, SyncRun
from polar_sync.testing import FakePolar, FakePolarServer
from tests.factories import make_uuid
from tests.services import RECORDINGS, miss
from tests.sync.socketless import count_asked, normalize

RECORDING = RECORDINGS / "organization.jsonl.gz"
CUSTOMERS = 950


@pytest.fixture(scope="module")
def recorded_states() -> dict[str, dict[str, Any]]:
    if not RECORDING.exists():
        miss("The recording organization.jsonl.gz is absent")
    states = {}
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            found = re.fullmatch(r"/v1/customers/([^/]+)/state", exchange["path"])
            if found:
                states[found[1]] = normalize(exchange["body"])
    return states


@pytest.fixture
def server() -> Iterator[FakePolarServer]:
    with FakePolarServer(FakePolar.replay(RECORDING)) as server:
        yield server


def mirror(server: FakePolarServer, settings: Settings, *, source: str) -> dict[str, Any]:
    """Run the command; returns its line."""
    entry = {
        "ACCESS_TOKEN": server.polar.access_token,
        "SERVER": server.url,
        "REQUESTS_PER_MINUTE": 1_000_000,
    }
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}, "STATE_SOURCE": source}
    output = StringIO()
    call_command("polar_sync", "--json", stdout=output)
    line: dict[str, Any] = json.loads(output.getvalue())
    return line


def read_mirror() -> dict[str, dict[str, Any]]:
    return {str(customer.pk): normalize(customer.state()) for customer in Customer.objects.with_state()}


def drop_price_ids(states: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without the deprecated field that lists and states may tell differently."""
    for state in states.values():
        for subscription in state["active_subscriptions"]:
            subscription.pop("price_id")
    return states


def give_archived_meters(polar: FakePolar) -> int:
    """Every third customer gets a meter of its own on a meter that is archived; returns how many did."""
    definition, chosen = polar.meters[0], polar.customers[::3]
    archived = {**definition, "id": str(make_uuid("archived")), "name": "Calls of the old API"}
    polar.add_meter({**archived, "archived_at": "2026-06-01T00:00:00Z"})
    for customer_id in chosen:
        made = {
            "id": str(make_uuid(customer_id)),
            "created_at": "2026-05-01T00:00:00Z",
            "modified_at": None,
            "meter_id": archived["id"],
            "consumed_units": 3.5,
            "credited_units": 10,
            "balance": 6.5,
        }
        polar.add_customer_meter(customer_id, made)
    return len(chosen)


@pytest.mark.django_db
def test_every_state_of_the_recorded_organization_is_mirrored(
    recorded_states: dict[str, dict[str, Any]], server: FakePolarServer, settings: Settings
) -> None:
    assert len(recorded_states) == CUSTOMERS
    line = mirror(server, settings, source="per_customer")
    assert count_asked(server.polar) == (10, CUSTOMERS)
    assert (line["status"], line["listed"], line["created"]) == ("succeeded", CUSTOMERS, CUSTOMERS)
    assert read_mirror() == recorded_states


@pytest.mark.django_db
def test_lists_tell_every_state_of_the_recorded_organization_in_a_fifteenth_of_the_requests(
    recorded_states: dict[str, dict[str, Any]], server: FakePolarServer, settings: Settings
) -> None:
    line = mirror(server, settings, source="auto")
    run = SyncRun.objects.get()
    assert (line["status"], line["created"], run.source, run.source_note) == ("succeeded", CUSTOMERS, "batched", "")
    assert drop_price_ids(read_mirror()) == drop_price_ids(copy.deepcopy(recorded_states))
    assert line["requests"] <= (CUSTOMERS + 10) // 15
    assert mirror(server, settings, source="auto")["unchanged"] == CUSTOMERS


@pytest.mark.django_db
def test_archived_meters_of_a_third_of_its_customers_cost_a_request_for_a_hundred(
    server: FakePolarServer, settings: Settings
) -> None:
    given = give_archived_meters(server.polar)
    line = mirror(server, settings, source="auto")
    run = SyncRun.objects.get()
    assert (line["status"], run.source, run.source_note) == ("succeeded", "batched", "")
    assert Meter.objects.filter(meter__name="Calls of the old API").count() == given > CUSTOMERS / 4
    expected = {key: normalize(server.polar.get_state(key)) for key in server.polar.customers}
    assert drop_price_ids(read_mirror()) == drop_price_ids(expected)
    assert line["requests"] <= (CUSTOMERS + 10) // 13
    assert mirror(server, settings, source="auto")["unchanged"] == CUSTOMERS
