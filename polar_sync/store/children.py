"""The rows of customers' children: read in bulk, written in bulk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import DO_NOTHING, BooleanField, CharField, F, QuerySet, UUIDField, Value
from django.db.models.deletion import get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete

from polar_sync.models import BenefitGrant, Meter, Subscription, SubscriptionMeter
from polar_sync.payloads import (
    GRANT,
    METER,
    SUBSCRIPTION,
    SUBSCRIPTION_METER,
    Projection,
    dump_canonical,
    load_canonical,
)
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.observations import Children, Origin
from polar_sync.store.ordering import Order

ChildModel = type[Subscription] | type[SubscriptionMeter] | type[BenefitGrant] | type[Meter]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of child: where its parent's id is, how to reach its customer, and what says that a state holds it."""

    name: str
    array: str
    model: ChildModel
    shape: Projection
    parent: str
    owner: str
    flag: str = ""


# In the order of writing: a subscription's meters need it to exist.
KINDS = (
    Kind("subscription", "subscriptions", Subscription, SUBSCRIPTION, "customer_id", "customer_id", "is_in_state"),
    Kind(
        "subscription_meter",
        "subscription_meters",
        SubscriptionMeter,
        SUBSCRIPTION_METER,
        "subscription_id",
        "subscription__customer_id",
        "subscription__is_in_state",
    ),
    Kind("benefit_grant", "grants", BenefitGrant, GRANT, "customer_id", "customer_id"),
    Kind("meter", "meters", Meter, METER, "customer_id", "customer_id"),
)
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
    stored: Stored = {kind.name: {} for kind in KINDS}
    if not customer_ids:
        return stored
    queries = [
        _get_rows(kind, using=using)
        .filter(**{f"{kind.owner}__in": list(customer_ids)})
        .annotate(
            kind=Value(kind.name, output_field=CharField()),
            parent=F(kind.parent),
            owner=F(kind.owner) if kind.owner != kind.parent else Value(None, output_field=UUIDField()),
            shown=F(kind.flag) if kind.flag else Value(value=True, output_field=BooleanField()),
        )
        .values_list("kind", "id", "parent", "owner", "payload", "shown")
        for kind in KINDS
    ]
    for name, pk, parent, owner, payload, shown in reduce(lambda one, other: one.union(other, all=True), queries):
        stored[name][pk] = StoredChild(pk, parent, owner or parent, payload, bool(shown))
    return stored


def get_holders(ids: Mapping[str, Collection[UUID]], *, using: str) -> set[UUID]:
    """The customers who hold the children with these ids by kind, in one statement for any usual number."""
    holders: set[UUID] = set()
    pending = [(kind, list(ids[kind.name])) for kind in KINDS]
    while pending := [(kind, of_kind) for kind, of_kind in pending if of_kind]:
        queries = [
            _get_rows(kind, using=using).filter(pk__in=of_kind[:_MAX_IDS]).values_list(kind.owner).distinct()
            for kind, of_kind in pending
        ]
        holders.update(row[0] for row in reduce(lambda one, other: one.union(other), queries))
        pending = [(kind, of_kind[_MAX_IDS:]) for kind, of_kind in pending]
    return holders


def _get_rows(kind: Kind, *, using: str) -> QuerySet[Any, Any]:
    manager: Any = kind.model._default_manager  # noqa: SLF001 - Django's public name for it
    rows: QuerySet[Any, Any] = manager.using(using).order_by()
    return rows


def write_children(kind: Kind, children: Iterable[ChildPayload], *, is_new: bool, using: str) -> None:
    """Write these children, their columns projected anew, in one statement and in the order of ids.

    Raises Django's `IntegrityError` where one that is new has a row.
    """
    rows: list[Any] = [
        kind.model(
            **{
                "id": child.id,
                kind.parent: child.parent_id,
                "payload": child.payload,
                **kind.shape.project(child.payload),
                **({"is_in_state": child.is_in_state} if kind.flag == "is_in_state" else {}),
            }
        )
        for child in sorted(children, key=lambda child: child.id)
    ]
    columns = [kind.parent.removesuffix("_id"), "payload", *kind.shape.columns]
    columns += ["is_in_state"] if kind.flag == "is_in_state" else []
    on_conflict = {} if is_new else {"update_conflicts": True, "unique_fields": ["id"], "update_fields": columns}
    manager: Any = kind.model._default_manager  # noqa: SLF001 - Django's public name for it
    manager.using(using).bulk_create(rows, **on_conflict)


def remove_children(kind: Kind, ids: Iterable[UUID], *, using: str) -> None:
    """Remove these rows; a subscription's meters must be gone already.

    One statement where nothing of the project depends on them, else as Django deletes: what a project hangs on these
    rows is treated as its `on_delete` says.
    """
    pending = sorted(ids)
    is_plain = not _has_dependents(kind)
    while pending:
        rows: Any = _get_rows(kind, using=using).filter(pk__in=pending[:_MAX_IDS])
        if is_plain:
            # `delete()` would look for meters, and go by hundreds.
            rows._raw_delete(using)  # noqa: SLF001 - what Django itself deletes with where nothing depends on a row
        else:
            rows.delete()
        pending = pending[_MAX_IDS:]


def _has_dependents(kind: Kind) -> bool:
    if any(signal.has_listeners(kind.model) for signal in (pre_delete, post_delete)):
        return True
    options: Any = kind.model._meta  # noqa: SLF001 - Django's public name for it
    ours = {other.model for other in KINDS}
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
        return kind == "meter" and row.id not in children.gone
    return children.origin is Origin.STATE and not row.is_in_state and order is not Order.LATER


def _load(text: str) -> dict[str, Any]:
    return load_canonical(text) if text else {}
