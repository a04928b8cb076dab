"""An organization's webhook endpoints, events and deliveries as rows, and as Polar answers them.

References: https://polar.sh/docs/api-reference/webhooks/endpoints/list, …/webhooks/deliveries/list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polar_sync.testing.http import format_timestamp

EVENT_TYPES = (
    *("checkout.created", "checkout.updated", "checkout.expired"),
    *("customer.created", "customer.updated", "customer.deleted", "customer.state_changed"),
    *("customer_seat.assigned", "customer_seat.claimed", "customer_seat.revoked"),
    *("member.created", "member.updated", "member.deleted"),
    *("order.created", "order.updated", "order.paid", "order.refunded"),
    *("subscription.created", "subscription.updated", "subscription.active", "subscription.canceled"),
    *("subscription.uncanceled", "subscription.cycled", "subscription.revoked", "subscription.past_due"),
    *("subscription.paused", "subscription.resumed", "refund.created", "refund.updated"),
    *("product.created", "product.updated", "discount.created", "discount.updated", "discount.deleted"),
    *("benefit.created", "benefit.updated", "benefit_grant.created", "benefit_grant.cycled"),
    *("benefit_grant.updated", "benefit_grant.revoked", "organization.updated"),
)
FORMATS = ("raw", "discord", "slack")


@dataclass(slots=True, eq=False)
class Endpoint:
    """Where events of the types in `events` are sent."""

    id: str
    url: str
    organization_id: str
    secret: str = field(repr=False)
    created_at: datetime
    events: tuple[str, ...] = EVENT_TYPES
    name: str | None = None
    format: str = "raw"
    enabled: bool = True
    modified_at: datetime | None = None
    is_deleted: bool = False

    def takes(self, kind: str) -> bool:
        """Events of this type are made for it now."""
        return self.enabled and not self.is_deleted and kind in self.events

    def build(self) -> dict[str, Any]:
        """The endpoint as Polar answers it, with its secret."""
        return {
            "created_at": format_timestamp(self.created_at),
            "modified_at": format_moment(self.modified_at),
            "id": self.id,
            "url": self.url,
            "name": self.name,
            "format": self.format,
            "secret": self.secret,
            "organization_id": self.organization_id,
            "events": list(self.events),
            "enabled": self.enabled,
        }


@dataclass(slots=True, eq=False)
class Event:
    """Something that happened, for one endpoint; `payload` is the body's text, None once archived.

    `succeeded` is None while attempts are to come; `attempts` is how many there were.
    """

    id: str
    type: str
    payload: str | None = field(repr=False)
    created_at: datetime
    endpoint: Endpoint
    modified_at: datetime | None = None
    last_http_code: int | None = None
    succeeded: bool | None = None
    skipped: bool = False
    attempts: int = 0

    @property
    def is_pending(self) -> bool:
        """It has neither come to its end nor been skipped."""
        return self.succeeded is None and not self.skipped

    def build(self) -> dict[str, Any]:
        """The event as the deliveries nest it."""
        return {
            "created_at": format_timestamp(self.created_at),
            "modified_at": format_moment(self.modified_at),
            "id": self.id,
            "last_http_code": self.last_http_code,
            "succeeded": self.succeeded,
            "skipped": self.skipped,
            "payload": self.payload,
            "type": self.type,
            "is_archived": self.payload is None,
        }


@dataclass(slots=True, eq=False)
class Delivery:
    """One attempt to send an event."""

    id: str
    created_at: datetime
    succeeded: bool
    http_code: int | None
    response: str | None
    event: Event
    modified_at: datetime | None = None

    def build(self) -> dict[str, Any]:
        """The attempt as Polar lists it, with its event as it is now."""
        return {
            "created_at": format_timestamp(self.created_at),
            "modified_at": format_moment(self.modified_at),
            "id": self.id,
            "succeeded": self.succeeded,
            "http_code": self.http_code,
            "response": self.response,
            "webhook_event": self.event.build(),
        }


def format_moment(moment: datetime | None) -> str | None:
    """An instant as Polar writes it, null where there is none."""
    return None if moment is None else format_timestamp(moment)


def read_moment(text: str | None) -> datetime | None:
    """An instant that Polar wrote."""
    return None if text is None else datetime.fromisoformat(text)


def read_event(item: dict[str, Any], *, endpoint: Endpoint) -> Event:
    """An event from what a recorded delivery nests."""
    return Event(
        id=item["id"],
        type=item["type"],
        payload=item["payload"],
        created_at=datetime.fromisoformat(item["created_at"]),
        endpoint=endpoint,
        modified_at=read_moment(item["modified_at"]),
        last_http_code=item["last_http_code"],
        succeeded=item["succeeded"],
        skipped=item["skipped"],
    )


def read_delivery(item: dict[str, Any], *, event: Event) -> Delivery:
    """A delivery from a recorded one."""
    return Delivery(
        id=item["id"],
        created_at=datetime.fromisoformat(item["created_at"]),
        succeeded=item["succeeded"],
        http_code=item["http_code"],
        response=item["response"],
        event=event,
        modified_at=read_moment(item["modified_at"]),
    )
