"""Polar's operations on webhook endpoints, and on what was delivered to them.

https://polar.sh/docs/integrate/webhooks/endpoints. Every operation raises the errors that `Customers` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from polar_sync.client.parameters import (
    WEBHOOK_DELIVERIES,
    WEBHOOK_ENDPOINTS,
    OrganizationFilter,
    build_endpoint_path,
    build_event_path,
    build_organization_query,
    build_repeated_query,
    build_truth_query,
    encode_fields,
    format_instant,
)
from polar_sync.client.responses import ListPage, PolarObject, PolarRequest, read_object, read_page
from polar_sync.client.transport import Transport
from polar_sync.payloads.interval import Interval

PAGE_SIZE = 100
RAW = "raw"
"""The format in which Polar sends its own JSON; the others are texts for Discord and Slack."""


class WebhookEndpoints:
    """The endpoints of an organization; to read needs `webhooks:read`, to write `webhooks:write`.

    The `secret` of an endpoint that is returned is a `polar_sync.tokens.Token`: `endpoint["secret"].reveal()`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, organization_id: OrganizationFilter | None = None, page: int = 1, limit: int = PAGE_SIZE
    ) -> ListPage:
        """Return one page of the endpoints, with their secrets.

        https://polar.sh/docs/api-reference/webhooks/endpoints/list
        """
        pairs = [*build_organization_query(organization_id), ("page", str(page)), ("limit", str(limit))]
        request = PolarRequest(method="GET", path=WEBHOOK_ENDPOINTS, query=pairs, has_secret=True)
        return read_page(self._transport.send(request))

    def get(self, endpoint_id: str | UUID, /) -> PolarObject:
        """Return an endpoint. https://polar.sh/docs/api-reference/webhooks/endpoints/get."""
        request = PolarRequest(method="GET", path=build_endpoint_path(endpoint_id), has_secret=True)
        return read_object(self._transport.send(request))

    def create(
        self,
        *,
        url: str,
        events: Iterable[str],
        format: str = RAW,  # noqa: A002 - Polar's name
        name: str | None = None,
        organization_id: str | UUID | None = None,
    ) -> PolarObject:
        """Create an endpoint and return it with the secret that Polar made for it.

        `organization_id` is for tokens that see several organizations; Polar refuses it with an organization's own
        token. Never tried again after a lost answer. https://polar.sh/docs/api-reference/webhooks/endpoints/create
        """
        fields = {"url": url, "events": [*events], "format": format, "name": name, "organization_id": organization_id}
        return self._write("POST", WEBHOOK_ENDPOINTS, fields)

    def update(
        self,
        endpoint_id: str | UUID,
        /,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        format: str | None = None,  # noqa: A002 - Polar's name
        name: str | None = None,
        enabled: bool | None = None,
    ) -> PolarObject:
        """Change what is not None and return the endpoint; `events` are replaced whole.

        https://polar.sh/docs/api-reference/webhooks/endpoints/update
        """
        chosen = None if events is None else [*events]
        fields = {"url": url, "events": chosen, "format": format, "name": name, "enabled": enabled}
        return self._write("PATCH", build_endpoint_path(endpoint_id), fields)

    def delete(self, endpoint_id: str | UUID, /) -> Interval:
        """Delete an endpoint; returns when, on Polar's clock, that was done.

        https://polar.sh/docs/api-reference/webhooks/endpoints/delete
        """
        request = PolarRequest(method="DELETE", path=build_endpoint_path(endpoint_id), has_secret=True)
        return self._transport.send(request).interval

    def reset_secret(self, endpoint_id: str | UUID, /) -> PolarObject:
        """Have Polar make a new secret and return the endpoint with it; the former one signs nothing from then on.

        https://polar.sh/docs/integrate/webhooks/endpoints
        """
        return self._write("PATCH", build_endpoint_path(endpoint_id, suffix="/secret"), None)

    def _write(self, method: str, path: str, fields: Mapping[str, object] | None) -> PolarObject:
        given = None if fields is None else {name: value for name, value in fields.items() if value is not None}
        body = None if given is None else encode_fields(given)
        return read_object(self._transport.send(PolarRequest(method=method, path=path, body=body, has_secret=True)))


class WebhookDeliveries:
    """What Polar attempted to deliver, kept for 90 days. https://polar.sh/docs/integrate/webhooks/delivery."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        endpoint_id: str | UUID | Iterable[str | UUID] | None = None,
        start_timestamp: datetime | None = None,
        end_timestamp: datetime | None = None,
        succeeded: bool | None = None,
        event_type: str | Iterable[str] | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
    ) -> ListPage:
        """Return one page of the attempts, newest first, each with its event and the event's body as text.

        Both timestamps are aware, exclude what is exactly at them, and are compared with an attempt's `created_at`.
        Without `endpoint_id` the attempts of all endpoints are listed, those of other formats than raw too. A page can
        be of several hundred kilobytes. Needs `webhooks:read`.
        """
        pairs = build_repeated_query("endpoint_id", endpoint_id)
        limits = (("start_timestamp", start_timestamp), ("end_timestamp", end_timestamp))
        pairs += [(name, format_instant(value)) for name, value in limits if value is not None]
        pairs += build_truth_query("succeeded", succeeded) + build_repeated_query("event_type", event_type)
        pairs += [("page", str(page)), ("limit", str(limit))]
        return read_page(self._transport.send(PolarRequest(method="GET", path=WEBHOOK_DELIVERIES, query=pairs)))

    def redeliver(self, event_id: str | UUID, /) -> Interval:
        """Have Polar deliver an event once more, as a new attempt; returns when, on Polar's clock, that was accepted.

        `event_id` is the `webhook-id` of a delivery. Needs `webhooks:write`. NotFoundError where there is no such
        event; Polar cannot deliver one again that is archived.
        """
        return self._transport.send(PolarRequest(method="POST", path=build_event_path(event_id))).interval
