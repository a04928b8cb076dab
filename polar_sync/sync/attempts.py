"""An attempt on Polar's list of deliveries, read as the receiver would have kept its event.

https://polar.sh/docs/api-reference/webhooks/deliveries/list
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from polar_sync.exceptions import PayloadError
from polar_sync.models import Organization, WebhookDelivery
from polar_sync.payloads.values import clean_text, read_label, read_timestamp
from polar_sync.sync.events import MAX_TYPE_LENGTH, read_event, redact

_MAX_ID_LENGTH = 200


def read_attempted_at(item: Any) -> datetime:
    """When Polar made it. Raises `PayloadError`."""
    attempted_at = read_timestamp(item.get("created_at")) if isinstance(item, dict) else None
    if attempted_at is None:
        raise PayloadError("Polar's list of deliveries holds something that is no attempt with a time")
    return attempted_at


def build_delivery(event: Mapping[str, Any], organization: Organization) -> WebhookDelivery:
    """What the receiver would have kept; one that cannot be read has failed already, with the reason."""
    delivery = WebhookDelivery(
        organization=organization,
        webhook_id=event["id"][:_MAX_ID_LENGTH],
        type=(read_label(event.get("type")) or "unknown")[:MAX_TYPE_LENGTH],
        timestamp=read_timestamp(event.get("created_at")) or timezone.now(),
        via=WebhookDelivery.Via.FEED,
    )
    payload = _get_text(event.get("payload"))
    if not payload:
        delivery.status, delivery.reason = WebhookDelivery.Status.FAILED, "Polar has archived what it said."
        return delivery
    try:
        read = read_event(payload)
    except PayloadError as error:
        delivery.status, delivery.reason = WebhookDelivery.Status.FAILED, clean_text(str(error))
        delivery.payload = ""  # nobody can tell what it holds
    else:
        delivery.type, delivery.timestamp, delivery.customer_id = read.type, read.timestamp, read.customer_id
        delivery.payload = redact(payload)
    return delivery


def _get_text(payload: Any) -> str:
    """The text as databases take it; a lone surrogate in JSON is as good written as an escape."""
    if not isinstance(payload, str):
        return ""
    try:
        payload.encode()
    except UnicodeEncodeError:
        return "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in payload)
    return payload
