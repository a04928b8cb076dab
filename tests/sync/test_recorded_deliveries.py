"""What a real server delivered in a busy minute, in every order and by every way, ends in what it had afterwards.

2,110 events about 334 customers, in whose order of arrival and of age nothing can be relied on; the states that all of
them had once everything was quiet were recorded too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import OrganizationSettings
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import PolarSyncError
from polar_sync.models import Customer, Organization, PendingRefresh, WebhookDelivery, WebhookFeed
from polar_sync.testing import FakePolar, Fault
from tests.sync.hearing import keep_body, list_left, read_recording, split_all
from tests.sync.socketless import read_mirror, serve

LIST = "/v1/webhooks/deliveries"
# The last of a page is the first of the next, so that none is lost between them.
PAGES = 30
# Meters change without an event, and so does the time of the first of a customer's own events.
UNTOLD: dict[str, Any] = {"active_meters": [], "first_user_event_at": None}
Order = Callable[[list[str]], list[str]]


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
        {key: {**state, **UNTOLD} for key, state in states.items()} for states in (read_mirror(), recorded.states)
    )
    assert split_all(mirrored) == split_all(expected)


def in_order(ids: list[str]) -> list[str]:
    return ids


def shuffle(seed: int) -> Order:
    def shuffled(ids: list[str]) -> list[str]:
        return random.Random(seed).sample(ids, len(ids))

    return shuffled


def twice(ids: list[str]) -> list[str]:
    return [*ids, *shuffle(3)(ids)]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("order", "size", "most_asked"),
    [(in_order, 30, 25), (twice, 10_000, 25), (shuffle(1), 30, 75), (shuffle(2), 10_000, 75)],
    ids=["as they arrived", "twice", "mixed, in small batches", "mixed"],
)
def test_deliveries_in_any_order_end_in_the_recorded_states(
    recorded: Recorded, entry: OrganizationSettings, order: Order, size: int, most_asked: int
) -> None:
    """In an order that no network makes more of them leave open which is the later, and nobody ends otherwise."""
    row = sync.get_organization_row(entry)
    ids = order(list(recorded.bodies))
    for start in range(0, len(ids), size):
        for webhook_id in ids[start : start + size]:
            keep_body(row, recorded.bodies[webhook_id], webhook_id=webhook_id)
        sync.process_all(entry, row)
    assert WebhookDelivery.objects.count() == len(recorded.bodies) == 2110
    assert ask_all(entry, row) <= most_asked
    check_end(recorded)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one writer in at a time: nothing to test")
@pytest.mark.django_db(transaction=True)
def test_deliveries_from_twenty_threads_end_in_the_recorded_states(
    recorded: Recorded, entry: OrganizationSettings
) -> None:
    """Each is delivered by two of the threads, which process what there is after every few."""
    ids = [*recorded.bodies, *recorded.bodies]
    threads = 20

    def deliver(some: Sequence[str]) -> None:
        row = sync.get_organization_row(entry)
        try:
            for number, webhook_id in enumerate(some):
                keep_body(row, recorded.bodies[webhook_id], webhook_id=webhook_id)
                if number % 10 == 9:
                    sync.process_all(entry, row)
            sync.process_all(entry, row)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(deliver, [ids[number::threads] for number in range(threads)]))
    row = sync.get_organization_row(entry)
    WebhookDelivery.objects.update(next_attempt_at=None)  # of before it was known which organization that is
    sync.process_all(entry, row)
    assert WebhookDelivery.objects.count() == 2110
    assert ask_all(entry, row) <= 75
    check_end(recorded)


# Read from Polar's list


@pytest.fixture
def watched(recorded: Recorded, entry: OrganizationSettings) -> Organization:
    """The organization, with the time of a run that succeeded just before; nobody is mirrored."""
    row = sync.get_organization_row(entry)
    row.complete_as_of = datetime(2026, 11, 21, 11, 20, tzinfo=UTC)
    row.save()
    return row


def follow() -> str:
    output = StringIO()
    call_command("polar_sync_follow", "--once", "--all", stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_list_of_deliveries_ends_in_the_recorded_states(
    recorded: Recorded, polar: FakePolar, entry: OrganizationSettings, watched: Organization
) -> None:
    assert f"2110 new events on {PAGES} pages" in follow()
    assert polar.counts["webhooks:list_webhook_deliveries"] == PAGES
    about_webhooks = sum(count for operation, count in polar.counts.items() if operation.startswith("webhooks:"))
    assert about_webhooks <= len(recorded.attempts) / 100 + 3
    # All else is asked about the customers whom the events leave open.
    assert 0 < len(polar.requests) - about_webhooks <= 25
    assert ask_all(entry, watched) == 0
    check_end(recorded)


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["rate_limit", "truncate", "killed"])
def test_reading_goes_on_where_it_was_broken_off(
    recorded: Recorded, polar: FakePolar, entry: OrganizationSettings, watched: Organization, kind: Any
) -> None:
    list_deliveries = "webhooks:list_webhook_deliveries"
    if kind == "killed":
        polar.before(list_deliveries, kill, after=10)
    else:
        polar.faults.add(Fault(kind=kind, operation=list_deliveries, after=10, times=None, retry_after=1))
    with sync.connect(entry, max_wait=0) as connected, pytest.raises((PolarSyncError, KilledError)):
        sync.follow(entry, connected, is_whole=True)
    feed = WebhookFeed.objects.get()
    assert (feed.all_read_until, feed.failed_read_until, feed.finished_at) == (None, None, None)
    assert feed.lease_token is None
    # What was read until then is kept.
    assert 900 < WebhookDelivery.objects.count() <= 1000
    polar.faults.clear()
    polar.reset_counts()
    with sync.connect(entry) as connected:
        result = sync.follow(entry, connected, is_whole=True)
    assert result.is_finished
    # The rest, and what came after the window had begun.
    assert polar.counts[list_deliveries] == PAGES - 10 + 1
    assert WebhookDelivery.objects.count() == 2110
    ask_all(entry, watched)
    check_end(recorded)


def kill() -> None:
    raise KilledError
