"""What a real server delivered in a busy minute, in every order and by every way, ends in what it had afterwards.

2,110 events about 334 customers, in whose order of arrival and of age nothing can be relied on; the states that all of
them had once everything was quiet were recorded too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import OrganizationSettings
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, Organization, PendingRefresh, WebhookDelivery
from polar_sync.testing import FakePolar
from tests.sync.hearing import keep_body, list_left, read_recording, split_all
from tests.sync.history import drop_fields
from tests.sync.socketless import read_mirror, serve

LIST = "/v1/webhooks/deliveries"
PAGES = 29
# Meters change without an event, and so does the time of the first of a customer's own events.
UNTOLD = {"active_meters", "first_user_event_at"}
MOST_ASKED = 70


@dataclass(frozen=True)
class Recorded:
    """The endpoint, the attempts newest first, the bodies by `webhook-id` in order of arrival, and the last states."""

    endpoint: dict[str, Any]
    attempts: list[dict[str, Any]]
    bodies: dict[str, str]
    states: dict[str, dict[str, Any]]
    deleted: set[str]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    first, *exchanges = read_recording("deliveries.jsonl.gz")
    attempts = {item["id"]: item for each in exchanges if each["path"] == LIST for item in each["body"]["items"]}
    newest_first = sorted(attempts.values(), key=lambda item: str(item["created_at"]), reverse=True)
    arrived = [item["webhook_event"] for item in reversed(newest_first)]
    states = [each for each in exchanges if each["path"].endswith("/state")]
    return Recorded(
        endpoint=first["endpoints"]["items"][0],
        attempts=newest_first,
        bodies={event["id"]: event["payload"] for event in arrived},
        states={each["body"]["id"]: each["body"] for each in states if each["status"] == 200},
        deleted={each["path"].split("/")[3] for each in states if each["status"] == 404},
    )


@pytest.fixture
def polar(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> FakePolar:
    """A server that has what the recorded one had in the end."""
    polar = FakePolar(seed="recorded", organization_id=recorded.endpoint["organization_id"])
    for state in recorded.states.values():
        polar.put_state(state)
    polar.webhooks.add_endpoint(**recorded.endpoint)
    polar.webhooks.load_deliveries(recorded.attempts)
    serve(polar, monkeypatch, settings)
    return polar


@pytest.fixture
def entry(polar: FakePolar) -> OrganizationSettings:
    return polar_settings.get_organization("default")


def ask_all(entry: OrganizationSettings, row: Organization) -> int:
    """A minute passes: all who are pending are asked about; returns how many they were."""
    pending = PendingRefresh.objects.count()
    PendingRefresh.objects.update(due_at=timezone.now())
    with sync.connect(entry) as connected:
        sync.ask_all_due(entry, row, connected)
    return pending


def check_end(recorded: Recorded) -> None:
    """Every customer has the recorded state, and those who were deleted are marked so, with nothing left."""
    assert list_left() == []
    assert not PendingRefresh.objects.exists()
    marked = {str(key) for key in Customer.all_objects.exclude(deleted_at=None).values_list("pk", flat=True)}
    assert marked == recorded.deleted
    mirrored, expected = (
        {key: {**state, "active_meters": []} for key, state in states.items()}
        for states in (read_mirror(), recorded.states)
    )
    ours, theirs = (
        split_all(drop_fields(mirrored, UNTOLD - {"active_meters"})),
        split_all(drop_fields(expected, UNTOLD - {"active_meters"})),
    )
    assert ours == theirs


def in_order(ids: list[str]) -> list[str]:
    return ids


def shuffle(seed: int) -> Callable[[list[str]], list[str]]:
    def shuffled(ids: list[str]) -> list[str]:
        return random.Random(seed).sample(ids, len(ids))

    return shuffled


def twice(ids: list[str]) -> list[str]:
    return [*ids, *shuffle(3)(ids)]


@pytest.mark.django_db
@pytest.mark.parametrize("size", [30, 10_000])
@pytest.mark.parametrize("order", [in_order, shuffle(1), shuffle(2), twice], ids=["order", "mixed", "other", "twice"])
def test_deliveries_in_any_order_end_in_the_recorded_states(
    recorded: Recorded,
    entry: OrganizationSettings,
    order: Callable[[list[str]], list[str]],
    size: int,
    record_property: Callable[[str, object], None],
) -> None:
    row = sync.get_organization_row(entry)
    ids = order(list(recorded.bodies))
    for start in range(0, len(ids), size):
        for webhook_id in ids[start : start + size]:
            keep_body(row, recorded.bodies[webhook_id], webhook_id=webhook_id)
        sync.process_all(entry, row)
    assert WebhookDelivery.objects.count() == len(recorded.bodies) == 2110
    asked = ask_all(entry, row)
    record_property("asked", asked)
    assert asked <= MOST_ASKED
    check_end(recorded)
