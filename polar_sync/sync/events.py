"""What each type of event means for the mirror: one table, and how an event's body is read.

https://polar.sh/docs/integrate/webhooks/events

| type | what it carries | what is done |
| --- | --- | --- |
| `customer.state_changed` | a state, of up to a minute before its time | applied as an observation of that time |
| `customer.created`, `.updated`, `.deleted` | the customer's own fields | applied in the order of `modified_at` |
| `subscription.*` | a snapshot of the subscription | put in, moved beside the state or removed, by its status |
| `benefit_grant.*` | a snapshot of the grant | put in or removed; one that failed is none |
| `benefit.created`, `.updated` | the benefit | its metadata reach every grant of it |
| `product.created`, `.updated`, `meter.created`, `.updated` | names | kept beside the ids |
| `order.paid`, `.refunded`, `customer_seat.*`, `member.*` | | the customer is asked about unless a state follows |
| all others | | kept and ignored |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from polar_sync.exceptions import PayloadError
from polar_sync.models.tables import Table, get_tables
from polar_sync.payloads import BENEFIT_GRANT, SUBSCRIPTION, read_id, read_object
from polar_sync.payloads.kinds import PAST_DUE, PRESENT
from polar_sync.payloads.values import read_timestamp, read_uuid
from polar_sync.states import build_object
from polar_sync.states.fields import StateFields
from polar_sync.store import ReportedObject

MAX_TYPE_LENGTH = 100
# Meters have no events: a recount is told by customer.state_changed.
EVENTS = (
    *("customer.created", "customer.updated", "customer.deleted", "customer.state_changed"),
    *("subscription.created", "subscription.updated", "subscription.active", "subscription.canceled"),
    *("subscription.uncanceled", "subscription.cycled", "subscription.revoked", "subscription.past_due"),
    *("subscription.paused", "subscription.resumed"),
    *("benefit_grant.created", "benefit_grant.cycled", "benefit_grant.updated", "benefit_grant.revoked"),
    *("benefit.updated", "product.updated", "order.paid", "order.refunded"),
    *("customer_seat.assigned", "customer_seat.claimed", "customer_seat.revoked"),
    *("member.created", "member.updated", "member.deleted"),
)
"""The types of events that this app needs. https://polar.sh/docs/integrate/webhooks/events"""
ESSENTIAL_EVENTS = frozenset(
    each for each in EVENTS if each.startswith(("customer.", "subscription.", "benefit_grant.", "benefit."))
)
"""Those without which what customers have could change unnoticed."""
_ENDED = frozenset({"canceled", "unpaid", "incomplete", "incomplete_expired", "paused"})


_SECRETS = frozenset({"client_secret", "customer_session_token", "access_token", "token", "secret", "guild_token"})
# What users and benefits put there is given back as it is.
_MIRRORED_WHOLE = frozenset({"properties", "metadata", "benefit_metadata", "custom_field_data"})


class Handling(Enum):
    """What is done with an event."""

    STATE = "state"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    GRANT = "benefit grant"
    BENEFIT = "benefit"
    PRODUCT = "product"
    METER = "meter"
    REFRESH = "refresh"


# By the type, or by its beginning up to the dot.
_HANDLINGS: Mapping[str, Handling] = {
    "customer.state_changed": Handling.STATE,
    "customer.created": Handling.CUSTOMER,
    "customer.updated": Handling.CUSTOMER,
    "customer.deleted": Handling.CUSTOMER,
    "subscription": Handling.SUBSCRIPTION,
    "benefit_grant": Handling.GRANT,
    "benefit.created": Handling.BENEFIT,
    "benefit.updated": Handling.BENEFIT,
    "product.created": Handling.PRODUCT,
    "product.updated": Handling.PRODUCT,
    "meter.created": Handling.METER,
    "meter.updated": Handling.METER,
    "order.paid": Handling.REFRESH,
    "order.refunded": Handling.REFRESH,
    "customer_seat": Handling.REFRESH,
    "member": Handling.REFRESH,
}
_OBJECTS: Mapping[Handling, Table] = {
    Handling.SUBSCRIPTION: next(table for table in get_tables() if table.kind is SUBSCRIPTION),
    Handling.GRANT: next(table for table in get_tables() if table.kind is BENEFIT_GRANT),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `timestamp` is when Polar made it, `customer_id` whom it is about, None where it does not tell."""

    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    customer_id: UUID | None

    @property
    def handling(self) -> Handling | None:
        """None for a type that nothing is done with."""
        return _HANDLINGS.get(self.type) or _HANDLINGS.get(self.type.partition(".")[0])

    @property
    def subscription_id(self) -> UUID | None:
        """The subscription that an event names which names no customer, such as that of a revoked seat."""
        return read_uuid(self.data.get("subscription_id"))


def read_event(body: str) -> Event:
    """Read an event's body. Raises `PayloadError` where it is no JSON object with a type, a time and data."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"The event is no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise PayloadError(f"The event is not an object but {type(value).__name__}")
    kind, timestamp, data = value.get("type"), read_timestamp(value.get("timestamp")), value.get("data")
    if not isinstance(kind, str) or not kind.isascii() or not kind.isprintable() or len(kind) > MAX_TYPE_LENGTH:
        raise PayloadError(f"The event's type is no text of at most {MAX_TYPE_LENGTH} printable ASCII characters")
    if timestamp is None:
        raise PayloadError(f"The event {kind} has no time")
    if not isinstance(data, dict):
        raise PayloadError(f"The data of the event {kind} is not an object but {type(data).__name__}")
    return Event(kind, timestamp, data, _read_customer_id(kind, data))


def redact(body: str) -> str:
    """The body as it may be kept: without what lets somebody in, of which nothing is mirrored.

    The properties of a benefit can hold the token of a chat server, and a checkout shows its client secret.
    """
    value = json.loads(body)
    redacted = _redact(value, is_benefit=str(value.get("type")).startswith("benefit."))
    return body if redacted == value else json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))


def _redact(value: Any, *, is_benefit: bool = False) -> Any:
    if isinstance(value, list):
        return [_redact(item, is_benefit=is_benefit) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = _SECRETS | {"properties"} if is_benefit and "id" in value else _SECRETS
    return {
        name: item
        if name in _MIRRORED_WHOLE
        else _redact(item, is_benefit=name in {"benefit", "benefits"} or (is_benefit and name == "data"))
        for name, item in value.items()
        if name not in left_out
    }


def _read_customer_id(kind: str, data: Mapping[str, Any]) -> UUID | None:
    if kind.startswith("customer."):
        return read_uuid(data.get("id"))
    nested = data.get("customer")
    found = read_uuid(data.get("customer_id"))
    return found or (read_uuid(nested.get("id")) if isinstance(nested, dict) else None)


def read_report(event: Event, fields: StateFields) -> ReportedObject | None:
    """The object that an event of a subscription or a grant reports, as a state shows it. Raises `PayloadError`.

    None for a status of which this package does not know whether a state holds it: Polar is to be asked.
    """
    if event.handling is None or event.customer_id is None:
        raise PayloadError(f"The event {event.type} names no customer")
    table = _OBJECTS[event.handling]
    data = dict(event.data)
    key = read_id(data, what=table.kind.label)
    version = read_timestamp(data.get("modified_at")) or read_timestamp(data.get("created_at")) or event.timestamp
    if table.kind is SUBSCRIPTION:
        status = data.get("status")
        if status not in {*PRESENT, PAST_DUE, *_ENDED}:
            return None
        is_present, is_in_state = status not in _ENDED, status in PRESENT
    else:
        is_present = is_in_state = data.get("is_granted") is True and data.get("is_revoked") is not True
    children = {}
    if is_present:
        shown = build_object(table.kind, data, fields)
        children = read_object(table.kind, shown, customer_id=event.customer_id, is_in_state=is_in_state)
    return ReportedObject(table, key, event.customer_id, version, event.timestamp, children)
