"""The rows of customers' children: read in bulk, written in bulk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import DO_NOTHING, BooleanField, CharField, F, QuerySet, UUIDField, Value
from django.db.models.deletion import get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete

from polar_sync.models.tables import Table, get_tables
from polar_sync.payloads import METER, dump_canonical, load_canonical
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.observations import Children, Origin
from polar_sync.store.ordering import Order

_MAX_IDS = 5_000
"""Ids in one statement: SQLite builds allow 32,766 parameters, and four kinds share one."""


class StoredChild(NamedTuple):
    """A child's row as it stands."""

    id: UUID
    parent_id: UUID
    owner_id: UUID
    payload: str
    is_in_state: bool = True


Stored = dict[str, dict[UUID, StoredChild]]


def get_owned(customer_ids: Collection[UUID], *, using: str) -> Stored:
    """All children of these customers, in one statement."""
    stored: Stored = {table.name: {} for table in get_tables()}
    if not customer_ids:
        return stored
    queries = [
        _get_rows(table, using=using)
        .filter(**{f"{table.owner}__in": list(customer_ids)})
        .annotate(
            kind=Value(table.name, output_field=CharField()),
            parent=F(table.parent),
            owner=F(table.owner) if table.owner != table.parent else Value(None, output_field=UUIDField()),
            shown=F(table.flag) if table.flag else Value(value=True, output_field=BooleanField()),
        )
        .values_list("kind", "id", "parent", "owner", "payload", "shown")
        for table in get_tables()
    ]
    for name, pk, parent, owner, payload, shown in reduce(lambda one, other: one.union(other, all=True), queries):
        stored[name][pk] = StoredChild(pk, parent, owner or parent, payload, bool(shown))
    return stored


def get_holders(ids: Mapping[str, Collection[UUID]], *, using: str) -> set[UUID]:
    """The customers who hold the children with these ids by kind, in one statement for any usual number."""
    holders: set[UUID] = set()
    pending = [(table, list(ids[table.name])) for table in get_tables()]
    while pending := [(table, of_kind) for table, of_kind in pending if of_kind]:
        queries = [
            _get_rows(table, using=using).filter(pk__in=of_kind[:_MAX_IDS]).values_list(table.owner).distinct()
            for table, of_kind in pending
        ]
        holders.update(row[0] for row in reduce(lambda one, other: one.union(other), queries))
        pending = [(table, of_kind[_MAX_IDS:]) for table, of_kind in pending]
    return holders


def _get_rows(table: Table, *, using: str) -> QuerySet[Any, Any]:
    manager: Any = table.model._default_manager  # noqa: SLF001 - Django's public name for it
    rows: QuerySet[Any, Any] = manager.using(using).order_by()
    return rows


def write_children(table: Table, children: Iterable[ChildPayload], *, is_new: bool, using: str) -> None:
    """Write these children, their columns projected anew, in one statement and in the order of ids.

    Raises Django's `IntegrityError` where one that is new has a row.
    """
    rows: list[Any] = [
        table.model(
            **{
                "id": child.id,
                table.parent: child.parent_id,
                "payload": child.payload,
                **table.kind.project(child.payload),
                **({"is_in_state": child.is_in_state} if table.is_flagged else {}),
            }
        )
        for child in sorted(children, key=lambda child: child.id)
    ]
    columns = [table.parent.removesuffix("_id"), "payload", *table.kind.columns]
    columns += ["is_in_state"] if table.is_flagged else []
    on_conflict = {} if is_new else {"update_conflicts": True, "unique_fields": ["id"], "update_fields": columns}
    manager: Any = table.model._default_manager  # noqa: SLF001 - Django's public name for it
    manager.using(using).bulk_create(rows, **on_conflict)


def remove_children(table: Table, ids: Iterable[UUID], *, using: str) -> None:
    """Remove these rows; a subscription's meters must be gone already.

    One statement where nothing of the project depends on them, else as Django deletes: what a project hangs on these
    rows is treated as its `on_delete` says.
    """
    pending = sorted(ids)
    is_plain = not _has_dependents(table)
    while pending:
        rows: Any = _get_rows(table, using=using).filter(pk__in=pending[:_MAX_IDS])
        if is_plain:
            # `delete()` would look for meters, and go by hundreds.
            rows._raw_delete(using)  # noqa: SLF001 - what Django itself deletes with where nothing depends on a row
        else:
            rows.delete()
        pending = pending[_MAX_IDS:]


def _has_dependents(table: Table) -> bool:
    if any(signal.has_listeners(table.model) for signal in (pre_delete, post_delete)):
        return True
    options: Any = table.model._meta  # noqa: SLF001 - Django's public name for it
    ours = {other.model for other in get_tables()}
    relations: Iterable[Any] = get_candidate_relations_to_delete(options)
    return any(item.related_model not in ours and item.on_delete is not DO_NOTHING for item in relations)


def prefer_stored(stored: str, observed: str, *, fields: Collection[str] | None) -> str:
    """The observed object with these fields as they are stored, absence included."""
    if not fields or stored == observed:
        return observed
    old, new = _load(stored), _load(observed)
    kept = {name: old[name] for name in fields if name in old}
    merged = {**{name: value for name, value in new.items() if name not in fields}, **kept}
    return dump_canonical(merged) if merged else ""


def settle_payload(kind: str, row: StoredChild, child: ChildPayload, children: Children) -> str:
    """The payload of a child that has a row: what the lists are unsure of stays as a state once told it."""
    fields = children.unreliable_fields.get(kind)
    if not fields or row.payload == child.payload:
        return child.payload
    old, new = _load(row.payload), _load(child.payload)
    if old.get("product_id") != new.get("product_id"):  # another plan: what was known of the old one is no better
        return child.payload
    return prefer_stored(row.payload, child.payload, fields=fields)


def is_out_of_sight(kind: str, row: StoredChild, children: Children, *, order: Order) -> bool:
    """Whether it means nothing that a stored child was not told of.

    Lists show an archived meter only where it is named: what leaves is what was not shown even then. A state leaves out
    past due subscriptions, which stay until it is sure that it is later than what told of them.
    """
    if children.origin is Origin.LISTS:
        return kind == METER.name and row.id not in children.gone
    return children.origin is Origin.STATE and not row.is_in_state and order is not Order.LATER


def _load(text: str) -> dict[str, Any]:
    return load_canonical(text) if text else {}
