"""A server whose events reach the mirror when a test says so, without a socket, and what was recorded of a real one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from polar_sync import sync
from polar_sync.conf import OrganizationSettings
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Organization, PendingRefresh, SyncRun, WebhookDelivery
from polar_sync.sync.feed import FollowResult
from polar_sync.testing import FakePolar
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.sender import Response
from polar_sync.testing.webhook_rows import Endpoint, Event
from polar_sync.testing.webhooks import dump_text
from tests.services import RECORDINGS, miss
from tests.sync.history import split_state
from tests.sync.socketless import read_mirror, read_polar, serve

NOWHERE = "http://127.0.0.1:9/"
ARRIVED, LOST = 202, 503


class Hearing:
    """Polar's clock is `now`, which stands still unless `pass_time` is called; it begins a day ago.

    Events that Polar makes wait until `hear` brings them here. `answer` is what the receiver answers to an attempt of
    Polar's, which `polar.webhooks.flush()` makes; only the list of deliveries shows these.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Any, *, age: timedelta = timedelta(days=1)) -> None:
        self.now = datetime.now(UTC) - age
        self.answer: Callable[[], int | None] = lambda: ARRIVED
        self.polar = FakePolar(seed="hearing", clock=lambda: self.now)
        webhooks = self.polar.webhooks
        webhooks.sender.is_background = False
        webhooks.retry_delays = ()
        webhooks.post = lambda *_: Response(self.answer(), None)
        serve(self.polar, monkeypatch, settings)
        self.entry: OrganizationSettings = polar_settings.get_organization("default")
        self._known = 0

    @property
    def row(self) -> Organization:
        return sync.get_organization_row(self.entry)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def add_endpoint(self, **fields: Any) -> Endpoint:
        return self.polar.webhooks.add_endpoint(NOWHERE, **fields)

    def run(self) -> SyncRun:
        with sync.connect(self.entry) as connection:
            return sync.work_in_foreground(sync.begin_run(self.entry), connection)

    def take_events(self) -> list[Event]:
        """What Polar made since the last call."""
        events = self.polar.webhooks.events
        self._known, new = len(events), events[self._known :]
        return new

    def keep(self, events: Iterable[Event]) -> None:
        for event in events:
            assert event.payload is not None
            keep_body(self.row, event.payload, webhook_id=event.id)

    def process(self) -> None:
        sync.process_all(self.entry, self.row)

    def hear(self, events: Iterable[Event] | None = None) -> None:
        """What Polar made since the last call arrives, or just these, and is processed."""
        self.keep(self.take_events() if events is None else events)
        self.process()

    def ask(self) -> None:
        """A minute passes here: all who are pending are due."""
        PendingRefresh.objects.update(due_at=timezone.now())
        with sync.connect(self.entry) as connection:
            sync.ask_all_due(self.entry, self.row, connection)

    def follow(self, *, is_whole: bool = False) -> FollowResult:
        with sync.connect(self.entry) as connection:
            return sync.follow(self.entry, connection, is_whole=is_whole)

    def check(self) -> None:
        """What the mirror holds is what Polar has, and nothing is left to do."""
        assert not list_left()
        assert not PendingRefresh.objects.exists()
        assert split_all(read_mirror()) == split_all(read_polar(self.polar))


def split_all(states: Mapping[str, Mapping[str, Any]]) -> dict[Any, Any]:
    """Every object of these states, so that a comparison shows the one that differs."""
    return {key: item for state in states.values() for key, item in split_state(state).items()}


def list_left() -> list[tuple[str, str, str]]:
    """Deliveries that are waiting or have failed, with the reason."""
    left = WebhookDelivery.objects.filter(status__in=("received", "failed")).order_by("pk")
    return [(each.type, each.status, each.reason) for each in left]


def list_verdicts() -> list[tuple[str, str]]:
    """What became of each delivery, in the order in which they were kept."""
    return list(WebhookDelivery.objects.order_by("pk").values_list("type", "status"))


def keep_body(organization: Organization, body: str, *, webhook_id: str | None = None) -> bool:
    event = sync.read_event(body)
    return sync.keep_delivery(organization, webhook_id=webhook_id or str(uuid4()), body=body, event=event) is not None


def write_event(kind: str, data: Any, *, at: datetime) -> str:
    """The body of an event."""
    return dump_text({"type": kind, "timestamp": format_timestamp(at), "data": data})


def change_event(event: Event, **data: Any) -> Event:
    """An event whose data say something else."""
    body = json.loads(event.payload or "")
    return replace(event, payload=dump_text({**body, "data": {**body["data"], **data}}))


def find_recording(name: str) -> Path:
    path = RECORDINGS / name
    if not path.exists():
        miss(f"../shared/recordings/{name} is absent")
    return path


@cache
def read_recording(name: str) -> list[dict[str, Any]]:
    with gzip.open(find_recording(name), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
