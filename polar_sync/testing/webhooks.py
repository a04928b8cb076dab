"""The webhooks of a fake organization: endpoints, the events that are made for them, attempts to deliver these.

References: https://polar.sh/docs/integrate/webhooks/delivery, https://polar.sh/docs/integrate/webhooks/endpoints.
"""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from polar_sync.testing.http import format_timestamp
from polar_sync.testing.sender import Post, Response, Sender, post, sign
from polar_sync.testing.webhook_rows import (
    EVENT_TYPES,
    Delivery,
    Endpoint,
    Event,
    read_delivery,
    read_event,
    read_moment,
)

SECRET_PREFIX = "whsec_"  # noqa: S105  a prefix
SECRET_LENGTH = 43
TIMEOUT = 10.0
# Polar's grow from seconds to a quarter of an hour; a test has no such time.
RETRY_DELAYS = tuple(0.01 * number for number in range(1, 10))
POLAR_RETRY_DELAYS = tuple(2.0 * 2**number for number in range(1, 10))
# This many finished events in a row that failed disable their endpoint.
FAILURES = 10
TICK = timedelta(microseconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)
# A clock that went back by more than this was set back.
JITTER = timedelta(seconds=1)
# How many of the events that an option such as `sends_duplicates` is about it strikes.
SHARE = 0.5


class Webhooks:
    """The endpoints of one organization with their events and deliveries; safe from any thread.

    `timeout` (seconds) and `retry_delays` (one for each attempt after the first) are those of every endpoint;
    `POLAR_RETRY_DELAYS` are about Polar's own. `post` is what sends: put another function there to deliver without a
    socket. The times of a delivery are the organization's, also where its clock is off. A test whose receiver sees the
    database of its own thread only sets `sender.is_background` to False: `flush` then sends in the thread of the test.

    Polar does all of these now and then, this server only when told to, from random numbers of its own:
    `out_of_order` lets an event wait up to `max_delay` seconds, so that events arrive in another order;
    `sends_duplicates` sends some twice, with the same `webhook-id`; with `stale_states` some changes are told by two
    overlapping `customer.state_changed`, the later of which carries older data (see `events.py`).
    """

    def __init__(
        self, *, seed: int | str | None, organization_id: str, now: Callable[[], datetime], sender: Sender
    ) -> None:
        self.timeout = TIMEOUT
        self.retry_delays: tuple[float, ...] = RETRY_DELAYS
        self.post: Post = post
        self.out_of_order = False
        self.sends_duplicates = False
        self.stale_states = False
        self.max_delay = 0.05
        self.sender = sender
        self.deliveries: list[Delivery] = []
        self.rng = make_rng("chances", seed)
        # Deliveries are made by another thread, which must not change the ids of the events that come next.
        self._rng, self._delivery_rng = make_rng("webhooks", seed), make_rng("deliveries", seed)
        self._organization_id = organization_id
        self._now = now
        # A clock may use the server that it is given to: nothing asks it before that is made.
        self._last = NEVER
        self._silences = 0
        self._endpoints: dict[str, Endpoint] = {}
        self._events: dict[str, Event] = {}

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that were not deleted, oldest first."""
        with self.sender.changed:
            return [one for one in self._endpoints.values() if not one.is_deleted]

    @property
    def events(self) -> list[Event]:
        """All events, in the order in which they were made."""
        with self.sender.changed:
            return list(self._events.values())

    def get_event(self, event_id: str | uuid.UUID) -> Event:
        """An event by what is its `webhook-id`; `KeyError` where there is none."""
        return self._events[str(event_id)]

    def find_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """An endpoint that was not deleted."""
        endpoint = self._endpoints.get(endpoint_id)
        return None if endpoint is None or endpoint.is_deleted else endpoint

    def make_secret(self) -> str:
        """A new secret, as Polar generates them."""
        letters = string.ascii_letters + string.digits
        return SECRET_PREFIX + "".join(self._rng.choice(letters) for _ in range(SECRET_LENGTH))

    def _make_id(self, rng: random.Random) -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    # Endpoints

    def add_endpoint(self, url: str, *, events: Iterable[str] = EVENT_TYPES, **fields: Any) -> Endpoint:
        """Add an endpoint for these types of events; `fields` are further ones, as Polar answers them, such as `id`."""
        with self.sender.changed:
            moments = {name: read_moment(fields.pop(name, None)) for name in ("created_at", "modified_at")}
            endpoint = Endpoint(
                id=str(fields.pop("id", None) or self._make_id(self._rng)),
                url=url,
                organization_id=fields.pop("organization_id", None) or self._organization_id,
                secret=fields.pop("secret", None) or self.make_secret(),
                created_at=moments["created_at"] or self.tick(),
                modified_at=moments["modified_at"],
                events=tuple(events),
                **fields,
            )
            self._endpoints[endpoint.id] = endpoint
        return endpoint

    def update_endpoint(self, endpoint: Endpoint, **fields: Any) -> None:
        """Change fields of an endpoint."""
        with self.sender.changed:
            changed = {name: value for name, value in fields.items() if getattr(endpoint, name) != value}
            for name, value in changed.items():
                setattr(endpoint, name, value)
            if changed:
                endpoint.modified_at = self.tick()

    def delete_endpoint(self, endpoint: Endpoint) -> None:
        """Make no more events for an endpoint and list it no more; what is pending is still sent, as Polar does."""
        with self.sender.changed:
            endpoint.is_deleted = True

    # Events

    def wants(self, kind: str) -> bool:
        """An event of this type would be made now."""
        return not self._silences and any(one.takes(kind) for one in list(self._endpoints.values()))

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Changes within make no events, as those that Polar never tells of."""
        with self.sender.changed:
            self._silences += 1
        try:
            yield
        finally:
            with self.sender.changed:
                self._silences -= 1

    def make_events(self, kind: str, data: Any, *, after: timedelta = timedelta()) -> list[Event]:
        """Make an event for each enabled endpoint that asked for this type, and send them.

        `after` is how much later than now the event says that it is.
        """
        with self.sender.changed:
            endpoints = [] if self._silences else [one for one in self._endpoints.values() if one.takes(kind)]
            if not endpoints:
                return []
            created_at = self.tick() + after
            made = [self._make_event(one, kind, data, created_at=created_at) for one in endpoints]
            for event in made:
                self._schedule(event)
        return made

    def _make_event(self, endpoint: Endpoint, kind: str, data: Any, *, created_at: datetime) -> Event:
        payload = build_payload(endpoint.format, kind=kind, timestamp=created_at, data=data)
        event = Event(id=self._make_id(self._rng), type=kind, payload=payload, created_at=created_at, endpoint=endpoint)
        self._events[event.id] = event
        return event

    def _schedule(self, event: Event) -> None:
        self._put(event, delay=self._choose_delay())
        if self.sends_duplicates and self.rng.random() < SHARE:
            self._put(event, delay=self._choose_delay(), is_again=True)

    def _choose_delay(self) -> float:
        return self.rng.uniform(0, self.max_delay) if self.out_of_order else 0.0

    def _put(self, event: Event, *, delay: float = 0.0, is_again: bool = False) -> None:
        self.sender.put(partial(self._attempt, event, is_again=is_again), owner=event.endpoint, delay=delay)

    def redeliver(self, event_id: str | uuid.UUID) -> None:
        """Send an event again, whether it had succeeded or not; one that is archived is not sent."""
        with self.sender.changed:
            self._put(self.get_event(event_id), is_again=True)

    def archive(self, event_id: str | uuid.UUID) -> None:
        """Forget what an event says, as Polar does after 90 days."""
        with self.sender.changed:
            self.get_event(event_id).payload = None

    def load_deliveries(self, items: Iterable[dict[str, Any]], *, endpoint: Endpoint | None = None) -> None:
        """List these deliveries too, as Polar answers them; nothing is sent.

        They become those of `endpoint`, or of the oldest one there is; without any that is a `ValueError`.
        """
        with self.sender.changed:
            owner = endpoint or next(iter(self.endpoints), None)
            if owner is None:
                raise ValueError("deliveries need an endpoint: add_endpoint makes one")
            for item in items:
                nested = item["webhook_event"]
                event = self._events.get(nested["id"]) or read_event(nested, endpoint=owner)
                event.attempts += 1
                self._events[event.id] = event
                self.deliveries.append(read_delivery(item, event=event))

    # Sending

    def wait_until_sent(self, timeout: float = 30.0) -> None:
        """Wait until every event has succeeded, failed for good or been skipped; `TimeoutError` where it takes longer.

        Events of all organizations on this server count. Where the sender is stopped, or sends nothing in the
        background, they are sent by this thread.
        """
        self.sender.wait(timeout)

    def flush(self) -> None:
        """Send all that is pending in this thread, retries at once."""
        self.sender.drain()

    def _attempt(self, event: Event, *, is_again: bool) -> None:
        with self.sender.changed:
            if not event.endpoint.enabled:
                event.skipped = True
                return
            if event.payload is None or (event.succeeded and not is_again):
                return
            event.skipped = False
            endpoint, payload, timestamp = event.endpoint, event.payload, int(self._now().timestamp())
            headers = {
                "user-agent": "polar.sh webhooks",
                "content-type": "application/json",
                "webhook-id": event.id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign(endpoint.secret, event_id=event.id, timestamp=timestamp, body=payload),
            }
        response = self.post(endpoint.url, headers, payload.encode(), self.timeout)
        with self.sender.changed:
            self._note(event, response, is_again=is_again)

    def _note(self, event: Event, response: Response, *, is_again: bool) -> None:
        """Keep what came of an attempt, and see to what follows from it."""
        event.attempts += 1
        event.last_http_code = response.status if response.status is not None else event.last_http_code
        event.modified_at = self.tick()
        is_success = response.is_success
        delivery_id = self._make_id(self._delivery_rng)
        delivery = Delivery(delivery_id, self.tick(), is_success, response.status, response.text, event)
        self.deliveries.append(delivery)
        if is_success:
            event.succeeded = True
        elif event.attempts <= len(self.retry_delays):
            self._put(event, delay=self.retry_delays[event.attempts - 1], is_again=is_again)
        elif not event.succeeded:
            event.succeeded = False
            self._disable_if_failing(event.endpoint)

    def _disable_if_failing(self, endpoint: Endpoint) -> None:
        own = [one for one in self._events.values() if one.endpoint is endpoint]
        finished = sorted((one for one in own if one.succeeded is not None), key=lambda one: one.created_at)
        latest = finished[-FAILURES:]
        if not endpoint.enabled or len(latest) < FAILURES or any(one.succeeded for one in latest):
            return
        self.update_endpoint(endpoint, enabled=False)
        for event in own:
            event.skipped = event.skipped or event.is_pending
        self.sender.drop(endpoint)

    def tick(self) -> datetime:
        """The present moment, never the same twice: Polar's rows have no ties either."""
        moment = self._now()
        if moment <= self._last < moment + JITTER:
            moment = self._last + TICK
        self._last = moment
        return moment


def make_rng(purpose: str, seed: int | str | None) -> random.Random:
    """Random numbers for one purpose, the same in every run where there is a seed."""
    return random.Random(None if seed is None else f"{purpose} {seed}")  # noqa: S311  repeatable, not secret


def build_payload(form: str, *, kind: str, timestamp: datetime, data: Any) -> str:
    """The text that is signed and sent: Polar's own JSON, or a note in the form that Discord or Slack takes."""
    if form == "raw":
        return dump_text({"type": kind, "timestamp": format_timestamp(timestamp), "data": data})
    if form == "discord":
        return dump_text({"content": kind, "embeds": [{"title": kind, "description": kind}]})
    return dump_text({"text": kind, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": kind}}]})


def dump_text(value: Any) -> str:
    """Compact JSON with every script as it is; a lone surrogate, which cannot be sent, has all escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text
