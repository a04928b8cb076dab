"""The endpoint on Polar that events of an organization are made for: which one it is, and what is wrong with it.

https://polar.sh/docs/integrate/webhooks/endpoints
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from polar_sync.client.webhooks import RAW
from polar_sync.conf import OrganizationSettings
from polar_sync.models import WebhookFeed
from polar_sync.payloads.values import read_label
from polar_sync.sync.deliveries import get_organization_row
from polar_sync.sync.events import ESSENTIAL_EVENTS

DISABLED = (
    "Polar has disabled the webhook endpoint {url} after failed deliveries, and makes no events until it is enabled "
    "again, on Polar's dashboard or by manage.py polar_sync_webhook; then a run is needed."
)


def note_endpoint(entry: OrganizationSettings, endpoint_id: UUID, *, url: str) -> None:
    """Note which endpoint of Polar's is this project's; the next reading of the feed begins with it."""
    feed, _ = WebhookFeed.objects.get_or_create(organization=get_organization_row(entry))
    if feed.endpoint_id != endpoint_id:
        WebhookFeed.objects.filter(pk=feed.pk).update(endpoint_id=endpoint_id, endpoint_url=url, is_enabled=None)


def find_endpoint_problem(endpoint: Mapping[str, Any]) -> str:
    """Why an endpoint does not send all that changes the mirror, and what to do; empty where it does."""
    url = read_label(endpoint.get("url")) or ""
    if endpoint.get("enabled") is not True:
        return DISABLED.format(url=url)
    events = endpoint.get("events")
    missing = (
        ESSENTIAL_EVENTS - {each for each in events if isinstance(each, str)} if isinstance(events, list) else set()
    )
    if missing or endpoint.get("format") != RAW:
        what = f"not for {', '.join(sorted(missing))}" if missing else f"as {endpoint.get('format')!r} and not as JSON"
        return (
            f"The webhook endpoint {url} sends {what}. Run manage.py polar_sync_webhook --url …; then a run is needed."
        )
    return ""
