"""The rows of a customer's children: read in two statements, compared, written in bulk.

A child belongs to the customer whose latest state holds it. It changes owner only by a state later than the owner's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any
from uuid import UUID

from django.db.models import CharField, F, QuerySet, Value

from polar_sync.models import BenefitGrant, Meter, Subscription, SubscriptionMeter
from polar_sync.payloads import GRANT, METER, SUBSCRIPTION, SUBSCRIPTION_METER, Shape, is_equal
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.changes import Change, ChangeKind
from polar_sync.store.observations import Children

ChildModel = type[Subscription] | type[SubscriptionMeter] | type[BenefitGrant] | type[Meter]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of child: where its parent's id is, and how to reach its customer."""

    name: str
    array: str
    model: ChildModel
    shape: Shape
    parent: str
    owner: str


# In the order of writing: a subscription's meters need it to exist.
KINDS = (
    Kind("subscription", "subscriptions", Subscription, SUBSCRIPTION, "customer_id", "customer_id"),
    Kind(
        "subscriptionmeter",
        "subscription_meters",
        SubscriptionMeter,
        SUBSCRIPTION_METER,
        "subscription_id",
        "subscription__customer_id",
    ),
    Kind("benefitgrant", "grants", BenefitGrant, GRANT, "customer_id", "customer_id"),
    Kind("meter", "meters", Meter, METER, "customer_id", "customer_id"),
)
_MAX_IDS = 5_000
"""Ids in one statement: SQLite builds allow 32,766 parameters, and four kinds share one."""


@dataclass(frozen=True, slots=True)
class StoredChild:
    """A child's row as it stands."""

    id: UUID
    parent_id: UUID
    owner_id: UUID
    payload: str


Stored = dict[str, dict[UUID, StoredChild]]


@dataclass(slots=True)
class Plan:
    """What is to be written of the children, and by whom the incoming ones are held now."""

    writes: dict[str, list[ChildPayload]] = field(default_factory=lambda: {kind.name: [] for kind in KINDS})
    removals: dict[str, list[UUID]] = field(default_factory=lambda: {kind.name: [] for kind in KINDS})
    changes: list[Change] = field(default_factory=list)


def read_owned(customer_ids: Collection[UUID], *, using: str) -> Stored:
    """All children of these customers, in one statement."""
    if not customer_ids:
        return {kind.name: {} for kind in KINDS}
    return _read([(kind, {f"{kind.owner}__in": list(customer_ids)}) for kind in KINDS], using=using)


def read_by_id(ids: Mapping[str, Collection[UUID]], *, using: str) -> Stored:
    """The rows with these ids, whoever owns them, in one statement for any usual number."""
    found: Stored = {kind.name: {} for kind in KINDS}
    pending = {name: list(of_kind) for name, of_kind in ids.items()}
    while any(pending.values()):
        filters = [(kind, {"pk__in": pending[kind.name][:_MAX_IDS]}) for kind in KINDS if pending[kind.name]]
        for name, rows in _read(filters, using=using).items():
            found[name] |= rows
        pending = {name: of_kind[_MAX_IDS:] for name, of_kind in pending.items()}
    return found


def read_meters_of(subscription_ids: Collection[UUID], *, using: str) -> dict[UUID, StoredChild]:
    """The meters of subscriptions that come over from another customer."""
    kind = KINDS[1]
    return _read([(kind, {"subscription_id__in": list(subscription_ids)})], using=using)[kind.name]


def _read(filters: list[tuple[Kind, dict[str, Any]]], *, using: str) -> Stored:
    queries: list[QuerySet[Any, Any]] = [
        kind.model._default_manager.using(using)  # noqa: SLF001 - Django's public name for it
        .filter(**condition)
        .order_by()
        .annotate(kind=Value(kind.name, output_field=CharField()), parent=F(kind.parent), owner=F(kind.owner))
        .values_list("kind", "id", "parent", "owner", "payload")
        for kind, condition in filters
    ]
    stored: Stored = {kind.name: {} for kind in KINDS}
    for name, pk, parent, owner, payload in reduce(lambda one, other: one.union(other, all=True), queries):
        stored[name][pk] = StoredChild(pk, parent, owner, payload)
    return stored


def get_desired(
    kind: Kind, children: Mapping[UUID, Children], times: Mapping[UUID, datetime]
) -> dict[UUID, tuple[UUID, ChildPayload]]:
    """Each child id with its owner, over all states of a batch: of two that hold it, the later state's."""
    desired: dict[UUID, tuple[UUID, ChildPayload]] = {}
    for owner in sorted(children, key=times.__getitem__):
        for key, child in getattr(children[owner], kind.array).items():
            desired[key] = (owner, child)
    return desired


def compare(
    kind: Kind,
    plan: Plan,
    *,
    desired: Mapping[UUID, tuple[UUID, ChildPayload]],
    stored: Mapping[UUID, StoredChild],
    customer_ids: Collection[UUID],
) -> None:
    """Plan the writes and removals of one kind that make the rows of these customers what is desired."""
    for key, (owner, child) in desired.items():
        row = stored.get(key)
        if row is None:
            _plan_write(plan, kind, ChangeKind.CREATED, owner, child, before=None)
        elif row.owner_id != owner:
            _plan_write(plan, kind, ChangeKind.MOVED, owner, child, before=row.payload)
            plan.changes.append(Change(ChangeKind.REMOVED, kind.name, key, row.owner_id, row.payload, None))
        elif row.parent_id != child.parent_id or not is_equal(
            row.payload, child.payload, timestamps=kind.shape.timestamps
        ):
            _plan_write(plan, kind, ChangeKind.UPDATED, owner, child, before=row.payload)
    for key, row in stored.items():
        if key not in desired and row.owner_id in customer_ids:
            plan.removals[kind.name].append(key)
            change = Change(ChangeKind.REMOVED, kind.name, key, row.owner_id, row.payload, None)
            plan.changes.append(change)


def _plan_write(
    plan: Plan, kind: Kind, change: ChangeKind, owner: UUID, child: ChildPayload, *, before: str | None
) -> None:
    plan.writes[kind.name].append(child)
    plan.changes.append(Change(change, kind.name, child.id, owner, before, child.payload))


def write(plan: Plan, *, using: str) -> None:
    """Carry the plan out: a statement a kind for the writes, removals meters first."""
    for kind in KINDS:
        if plan.writes[kind.name]:
            _upsert(kind, plan.writes[kind.name], using=using)
    for kind in reversed(KINDS):
        _remove(kind, plan.removals[kind.name], using=using)


def _upsert(kind: Kind, children: Iterable[ChildPayload], *, using: str) -> None:
    rows: list[Any] = [
        kind.model(
            **{
                "id": child.id,
                kind.parent: child.parent_id,
                "payload": child.payload,
                **kind.shape.project(child.payload),
            }
        )
        for child in sorted(children, key=lambda child: child.id)
    ]
    manager: Any = kind.model._default_manager  # noqa: SLF001 - Django's public name for it
    manager.using(using).bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=[kind.parent.removesuffix("_id"), "payload", *kind.shape.columns],
    )


def _remove(kind: Kind, ids: list[UUID], *, using: str) -> None:
    """Through the ORM, so that what a project hangs on these rows is treated as its `on_delete` says."""
    manager: Any = kind.model._default_manager  # noqa: SLF001 - Django's public name for it
    for start in range(0, len(ids), _MAX_IDS):
        manager.using(using).filter(pk__in=sorted(ids)[start : start + _MAX_IDS]).delete()
