"""The rows of Polar's subscription, grant and meter lists, found by customer, each with its ready bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import Any

from polar_sync.testing.items import (
    build_grant_item,
    build_meter_item,
    build_subscription_item,
    refresh_item,
)
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.prepared import split_json
from polar_sync.testing.store import Record, RowKind

ROW_KINDS: tuple[RowKind, ...] = ("subscription", "grant", "meter")
# What each list sorts by unless asked otherwise; newest first.
DEFAULT_SORTINGS = {"subscription": "started_at", "grant": "created_at", "meter": "modified_at"}

SortKey = tuple[int, Any]


@dataclass(slots=True, eq=False)
class Row:
    """One item of a list: the object it was made from, whose it is, its JSON in pieces.

    `label` is the name of its product or meter. `sequence` is its place in a recording, 0 where it has none. `key` is
    its key in the list's default sorting. `is_present` says of a subscription that the customer's state holds it,
    whatever its status; `is_hidden` of a customer's meter that it is shown only where `meter_id` names it.
    """

    source: dict[str, Any]
    parts: tuple[bytes, ...]
    key: SortKey
    record: Record | None = None
    label: str | None = None
    sequence: int = 0
    is_present: bool = False
    is_hidden: bool = False

    def get_text(self, name: str) -> str | None:
        """A field where it is text."""
        value = self.source.get(name)
        return value if isinstance(value, str) else None


class RowIndex:
    """The rows of an organization, by the customer they belong to; called with the organization's lock held."""

    def __init__(self, organization: FakeOrganization) -> None:
        self._organization = organization
        self._whole: dict[RowKind, tuple[Any, list[Row]]] = {}

    def gather(self, kind: RowKind, customer_ids: Iterable[str] | None) -> list[Row]:
        """The rows of these customers, or of all, in no order that means anything; the list is the caller's."""
        if customer_ids is None:
            return list(self._list_all(kind))
        found: list[Row] = []
        for record in self._find_records(kind, customer_ids):
            found += self._get_rows(record, kind)
        found.sort(key=_get_sequence)
        return found

    def prepare(self) -> None:
        """Write all bodies now, so that no answer waits for it."""
        for record in self._organization.store:
            _ = record.customer_body, record.state_body
        for kind in ROW_KINDS:
            self._list_all(kind)

    def _list_all(self, kind: RowKind) -> list[Row]:
        organization = self._organization
        stamp = (organization.store.version, organization.shows_deleted, organization.lists_other_price)
        known = self._whole.get(kind)
        if known is None or known[0] != stamp:
            records = self._find_records(kind, None)
            rows = sorted(chain.from_iterable(self._get_rows(one, kind) for one in records), key=_get_sequence)
            known = self._whole[kind] = (stamp, rows)
        return known[1]

    def _find_records(self, kind: RowKind, customer_ids: Iterable[str] | None) -> Iterator[Record]:
        store = self._organization.store
        # Deleting a customer ends its subscriptions; grants and meters may stay where they are.
        buried = store.deleted if self._organization.shows_deleted and kind != "subscription" else {}
        if customer_ids is None:
            yield from store
            yield from buried.values()
            return
        for customer_id in dict.fromkeys(customer_ids):
            record = store.find(customer_id) or buried.get(customer_id)
            if record is not None:
                yield record

    def _get_rows(self, record: Record, kind: RowKind) -> list[Row]:
        cached = (kind, self._organization.lists_other_price)
        if cached not in record.rows:
            record.rows[cached] = list(self._build_rows(record, kind))
        return record.rows[cached]

    def _build_rows(self, record: Record, kind: RowKind) -> Iterator[Row]:
        shelf = self._organization.shelf
        recorded = record.listed.get(kind)
        present = _get_ids(record.get_children("active_subscriptions")) if kind == "subscription" else frozenset()
        for sequence, own in enumerate_sources(record, kind) if recorded is None else recorded:
            if not isinstance(own, dict):
                yield Row({}, split_json(own), rank(None), record)
                continue
            row = self._build_row(record, kind, own, sequence=sequence)
            row.is_present = row.get_text("id") in present
            row.is_hidden = kind == "meter" and shelf.is_archived(own.get("meter_id"))
            yield row

    def _build_row(self, record: Record, kind: RowKind, own: dict[str, Any], *, sequence: int) -> Row:
        shelf = self._organization.shelf
        label: Any = None
        if sequence:
            item = refresh_item(own, record=record, shelf=shelf)
        elif kind == "subscription":
            other = self._organization.lists_other_price
            item = build_subscription_item(own, record=record, shelf=shelf, lists_other_price=other)
            label = shelf.get_product(own)["name"]
        elif kind == "grant":
            item = build_grant_item(own, record=record, shelf=shelf)
        else:
            item = build_meter_item(own, record=record, shelf=shelf)
            label = shelf.get_meter(own)["name"]
        additions = self._organization.store.additions
        if kind == "subscription":
            item = additions.extend_subscription("lists", item)
        else:
            item = additions.extend(kind, "lists", item)
        key = rank_field(own, DEFAULT_SORTINGS[kind])
        return Row(own, split_json(item), key, record, label, sequence)


def enumerate_sources(record: Record, kind: RowKind) -> Iterator[tuple[int, Any]]:
    """What rows are made from where no list was recorded: the state's objects, and those that no state has."""
    if kind == "subscription":
        sources = [*record.get_children("active_subscriptions"), *record.other_subscriptions]
    elif kind == "grant":
        sources = [*record.get_children("granted_benefits"), *record.other_grants]
    else:
        sources = record.get_children("active_meters")
    return ((0, source) for source in sources)


def _get_ids(objects: Iterable[Any]) -> frozenset[str]:
    ids = (one.get("id") for one in objects if isinstance(one, dict))
    return frozenset(each for each in ids if isinstance(each, str))


def rank_field(source: dict[str, Any], name: str) -> SortKey:
    """The sort key of a field: instants by time, whatever their spelling."""
    value = source.get(name)
    if isinstance(value, str) and name.endswith(("_at", "_start", "_end")):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return rank(value)
        return (2, moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return rank(value)


def rank(value: Any) -> SortKey:
    """A key that can be compared with any other; null is the greatest, as in PostgreSQL."""
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (9, 0) if value is None else (8, 0)


_get_sequence = attrgetter("sequence")
