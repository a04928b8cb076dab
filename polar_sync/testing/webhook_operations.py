"""The operations on webhooks: endpoints, deliveries, sending an event again. Called with the organization's lock held.

The schemas: https://polar.sh/docs/api-reference/webhooks/endpoints/create, …/webhooks/deliveries/list.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polar_sync.testing.bodies import read_body
from polar_sync.testing.deliveries import build_deliveries_page
from polar_sync.testing.http import (
    Answer,
    Detail,
    dump_json,
    json_response,
    refuse_missing,
    refuse_request,
    refuse_values,
)
from polar_sync.testing.paging import check_choice, check_paging, group_values, read_paging, write_page
from polar_sync.testing.validation import Location, check_text, check_uuid, check_uuids, make_detail, read_uuid
from polar_sync.testing.webhook_rows import EVENT_TYPES, FORMATS, Endpoint
from polar_sync.testing.webhooks import Webhooks

if TYPE_CHECKING:
    from polar_sync.testing.operations import Call

CREATE_FIELDS = ("url", "name", "secret", "format", "events", "organization_id")
UPDATE_FIELDS = ("url", "name", "secret", "format", "events", "enabled")
REQUIRED = ("url", "format", "events")
MIN_SECRET = 32
Check = Callable[..., list[Detail]]


def _check_url(value: Any, *, location: Location) -> list[Detail]:
    """An absolute HTTP URL. Polar wants HTTPS and no host of a private network; a test receives on loopback."""
    wrong = check_text(value, location=location)
    if wrong:
        return wrong
    try:
        parts = urlsplit(value)
    except ValueError as error:
        return [_make_url_detail(location, value, str(error))]
    if not parts.scheme:
        return [_make_url_detail(location, value, "relative URL without a base")]
    if parts.scheme not in {"http", "https"}:
        message = "URL scheme should be 'http' or 'https'"
        return [make_detail("url_scheme", location, message, value, expected_schemes="'http' or 'https'")]
    return [] if parts.hostname else [_make_url_detail(location, value, "empty host")]


def _make_url_detail(location: Location, value: Any, reason: str) -> Detail:
    return make_detail("url_parsing", location, f"Input should be a valid URL, {reason}", value, error=reason)


def _check_any_text(value: Any, *, location: Location) -> list[Detail]:
    return check_text(value, location=location)


def _check_secret(value: Any, *, location: Location) -> list[Detail]:
    return check_text(value, location=location, min_length=MIN_SECRET)


def _check_format(value: Any, *, location: Location) -> list[Detail]:
    return check_choice(value, choices=FORMATS, location=location)


def _check_events(value: Any, *, location: Location) -> list[Detail]:
    if not isinstance(value, list):
        return [make_detail("list_type", location, "Input should be a valid list", value)]
    return [
        detail
        for index, one in enumerate(value)
        for detail in check_choice(one, choices=EVENT_TYPES, location=(*location, index))
    ]


def _check_enabled(value: Any, *, location: Location) -> list[Detail]:
    return (
        []
        if isinstance(value, bool)
        else [make_detail("bool_type", location, "Input should be a valid boolean", value)]
    )


_CHECKS: dict[str, Check] = {
    "url": _check_url,
    "name": _check_any_text,
    "secret": _check_secret,
    "format": _check_format,
    "events": _check_events,
    "organization_id": check_uuid,
    "enabled": _check_enabled,
}


def read_fields(body: dict[str, Any], names: tuple[str, ...], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The checked fields of a body that are not null; raises the 422 that Polar answers to what is wrong."""
    wrong: list[Detail] = []
    for name in names:
        location = ("body", name)
        if name in required and name not in body:
            wrong.append(make_detail("missing", location, "Field required", body))
        elif body.get(name) is not None or (name in required and name in body):
            wrong += _CHECKS[name](body[name], location=location)
    if wrong:
        raise refuse_request(wrong)
    return {name: body[name] for name in names if body.get(name) is not None}


class WebhookOperations:
    """The operations on the webhooks of one organization, by their names."""

    def __init__(self, webhooks: Webhooks, *, organization_id: str) -> None:
        self._webhooks = webhooks
        self._organization_id = organization_id
        self.handlers: dict[str, Callable[[Call], Answer]] = {
            "webhooks:list_webhook_endpoints": self._list_endpoints,
            "webhooks:create_webhook_endpoint": self._create_endpoint,
            "webhooks:get_webhook_endpoint": lambda call: json_response(self._get_endpoint(call).build()),
            "webhooks:update_webhook_endpoint": self._update_endpoint,
            "webhooks:delete_webhook_endpoint": self._delete_endpoint,
            "webhooks:reset_webhook_endpoint_secret": self._reset_secret,
            "webhooks:list_webhook_deliveries": self._list_deliveries,
            "webhooks:redeliver_webhook_event": self._redeliver,
        }

    def _list_endpoints(self, call: Call) -> Answer:
        values = group_values(call.request.query)
        asked = values.get("organization_id")
        wrong = check_paging(values) + (check_uuids(asked, location=("query", "organization_id")) if asked else [])
        if wrong:
            raise refuse_request(wrong)
        is_ours = not asked or self._organization_id in {read_uuid(one) for one in asked}
        endpoints = sorted(self._webhooks.endpoints, key=lambda one: one.created_at, reverse=True) if is_ours else []
        paging = read_paging(values)
        items = b",".join(dump_json(one.build()) for one in endpoints[paging.window])
        return Answer(
            200, write_page(items, total=len(endpoints), paging=paging), [("Content-Type", "application/json")]
        )

    def _get_endpoint(self, call: Call) -> Endpoint:
        endpoint = self._webhooks.find_endpoint(self._read_id(call))
        if endpoint is None:
            raise refuse_missing()
        return endpoint

    def _read_id(self, call: Call) -> str:
        given = call.parameters["id"]
        wrong = check_uuid(given, location=("path", "id"))
        if wrong:
            raise refuse_request(wrong)
        return read_uuid(given) or given

    def _create_endpoint(self, call: Call) -> Answer:
        fields = read_fields(read_body(call.request), CREATE_FIELDS, required=REQUIRED)
        given = fields.pop("organization_id", None)
        if given is not None:
            message = "Setting organization_id is disallowed when using an organization token."
            raise refuse_values([make_detail("organization_token", ("body", "organization_id"), message, given)])
        return json_response(self._webhooks.add_endpoint(**fields).build(), status=201)

    def _update_endpoint(self, call: Call) -> Answer:
        fields = read_fields(read_body(call.request), UPDATE_FIELDS)
        endpoint = self._get_endpoint(call)
        if "events" in fields:
            fields["events"] = tuple(fields["events"])
        self._webhooks.update_endpoint(endpoint, **fields)
        return json_response(endpoint.build())

    def _delete_endpoint(self, call: Call) -> Answer:
        self._webhooks.delete_endpoint(self._get_endpoint(call))
        return Answer(HTTPStatus.NO_CONTENT, b"", [("Content-Type", "application/json")])

    def _reset_secret(self, call: Call) -> Answer:
        endpoint = self._get_endpoint(call)
        self._webhooks.update_endpoint(endpoint, secret=self._webhooks.make_secret())
        return json_response(endpoint.build())

    def _list_deliveries(self, call: Call) -> Answer:
        with self._webhooks.sender.changed:
            page = build_deliveries_page(self._webhooks, call.request.query)
        return Answer(200, page, [("Content-Type", "application/json")])

    def _redeliver(self, call: Call) -> Answer:
        try:
            self._webhooks.redeliver(self._read_id(call))
        except KeyError:
            raise refuse_missing() from None
        return json_response(None, status=HTTPStatus.ACCEPTED)
