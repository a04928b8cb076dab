"""The list of deliveries: its filters, and its pages, newest first.

Reference: https://polar.sh/docs/api-reference/webhooks/deliveries/list.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from polar_sync.testing.http import Detail, dump_json, refuse_request
from polar_sync.testing.paging import (
    Filter,
    check_choice,
    check_paging,
    filter_choices,
    filter_ids,
    filter_truth,
    group_values,
    read_paging,
    write_page,
)
from polar_sync.testing.rows import Row
from polar_sync.testing.validation import Location, make_detail
from polar_sync.testing.webhook_rows import EVENT_TYPES, Delivery
from polar_sync.testing.webhooks import Webhooks

CODE_CLASSES = ("2xx", "3xx", "4xx", "5xx")


def check_moment(value: str, *, location: Location) -> list[Detail]:
    """An instant with its offset from UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        message = "Input should be a valid datetime or date, invalid character in year"
        reason = "invalid character in year"
        return [make_detail("datetime_from_date_parsing", location, message, value, error=reason)]
    if moment.tzinfo is not None:
        return []
    return [make_detail("timezone_aware", location, "Input should have timezone info", value)]


def _check_class(value: str, *, location: Location) -> list[Detail]:
    return check_choice(value, choices=CODE_CLASSES, location=location)


def _get_created(row: Row) -> Any:
    return row.source["created_at"]


def _get_class(row: Row) -> str | None:
    code = row.source["http_code"]
    return None if code is None else f"{code // 100}xx"


def _get_words(row: Row) -> str:
    return " ".join(str(row.source[name]) for name in ("id", "event_id", "http_code")).lower()


FILTERS = {
    "endpoint_id": filter_ids("endpoint_id"),
    "event_type": filter_choices("event_type", EVENT_TYPES),
    "succeeded": filter_truth(lambda row: row.source["succeeded"]),
    "http_code_class": Filter(get=_get_class, check=_check_class, is_repeated=False),
    # Both are exclusive.
    "start_timestamp": Filter(
        get=_get_created,
        check=check_moment,
        read=datetime.fromisoformat,
        fits=lambda value, wanted: all(value > one for one in wanted),  # type: ignore[attr-defined]
        is_repeated=False,
    ),
    "end_timestamp": Filter(
        get=_get_created,
        check=check_moment,
        read=datetime.fromisoformat,
        fits=lambda value, wanted: all(value < one for one in wanted),  # type: ignore[attr-defined]
        is_repeated=False,
    ),
    "query": Filter(
        get=_get_words,
        read=str.lower,
        fits=lambda value, wanted: any(one in value for one in wanted),  # type: ignore[attr-defined]
        is_repeated=False,
    ),
}


def build_deliveries_page(webhooks: Webhooks, pairs: list[tuple[str, str]]) -> bytes:
    """The JSON of the page asked for; raises the 422 that Polar answers to wrong parameters."""
    values = group_values(pairs)
    wrong = [
        detail for name, sent in values.items() if name in FILTERS for detail in FILTERS[name].check_values(name, sent)
    ]
    wrong += check_paging(values)
    if wrong:
        raise refuse_request(wrong)
    rows = [_build_row(one, place) for place, one in enumerate(webhooks.deliveries)]
    for name, sent in values.items():
        if name in FILTERS:
            rows = FILTERS[name].select(rows, sent)
    rows.sort(key=_get_created, reverse=True)
    paging = read_paging(values)
    items = b",".join(dump_json(webhooks.deliveries[row.sequence].build()) for row in rows[paging.window])
    return write_page(items, total=len(rows), paging=paging)


def _build_row(delivery: Delivery, place: int) -> Row:
    """What the filters look at; the deliveries of an endpoint that was deleted are found without its id only."""
    endpoint = delivery.event.endpoint
    source = {
        "id": delivery.id,
        "event_id": delivery.event.id,
        "endpoint_id": None if endpoint.is_deleted else endpoint.id,
        "event_type": delivery.event.type,
        "created_at": delivery.created_at,
        "succeeded": delivery.succeeded,
        "http_code": delivery.http_code,
    }
    return Row(source, (), (0, 0), sequence=place)
