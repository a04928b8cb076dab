"""What is to be done with the children of a batch: who holds which, compared with what is stored.

A child belongs to the customer whose latest state holds it. It changes owner only by a state later than the owner's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError

from polar_sync.payloads import is_equal
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.assembled import is_out_of_sight, settle_payload
from polar_sync.store.changes import Change, ChangeKind
from polar_sync.store.children import KINDS, Kind, Stored, StoredChild, remove_children, write_children
from polar_sync.store.locking import RowsMovedError
from polar_sync.store.observations import Children, is_due
from polar_sync.store.parents import Sighting

Desired = dict[UUID, tuple[UUID, ChildPayload]]
"""The children of one kind by id, each with its owner."""


@dataclass(slots=True)
class Plan:
    """What is to be done with the rows of each kind, and what that changes."""

    inserts: dict[str, list[ChildPayload]] = field(default_factory=lambda: {kind.name: [] for kind in KINDS})
    updates: dict[str, list[ChildPayload]] = field(default_factory=lambda: {kind.name: [] for kind in KINDS})
    removals: dict[str, list[UUID]] = field(default_factory=lambda: {kind.name: [] for kind in KINDS})
    changes: list[Change] = field(default_factory=list)


def plan_children(
    states: Mapping[UUID, Children],
    *,
    times: Mapping[UUID, datetime],
    stored: Stored,
    before: Mapping[UUID, Sighting],
) -> Plan:
    """Make the children of these customers what their states say.

    `times` are those of the states; `stored` are the children of every customer who holds one that is told of, and
    `before` what was known of these.
    """
    desired = {kind.name: _get_desired(kind, states, times) for kind in KINDS}
    for kind in KINDS:
        _drop_held(desired[kind.name], stored[kind.name], states=states, times=times, before=before)
    _drop_stray_meters(desired)
    _let_meters_follow(stored, desired["subscription"])
    plan = Plan()
    for kind in KINDS:
        _compare(kind, plan, desired=desired[kind.name], stored=stored[kind.name], states=states)
    return plan


def _get_desired(kind: Kind, children: Mapping[UUID, Children], times: Mapping[UUID, datetime]) -> Desired:
    """Over all states of a batch: of two that hold a child, the later one."""
    desired: Desired = {}
    for owner in sorted(children, key=times.__getitem__):
        for key, child in getattr(children[owner], kind.array).items():
            desired[key] = (owner, child)
    return desired


def _drop_held(
    desired: Desired,
    stored: Mapping[UUID, StoredChild],
    *,
    states: Collection[UUID],
    times: Mapping[UUID, datetime],
    before: Mapping[UUID, Sighting],
) -> None:
    """Leave a child where it is if its owner's stored state is later than the one that claims it."""
    for key in desired.keys() & stored.keys():
        holder = stored[key].owner_id
        if holder not in states and not is_due(times[desired[key][0]], before[holder].state_observed_at):
            del desired[key]


def _drop_stray_meters(desired: Mapping[str, Desired]) -> None:
    """A subscription's meters go where it goes: drop those whose subscription another customer holds."""
    subscriptions, meters = desired["subscription"], desired["subscriptionmeter"]
    for key, (owner, meter) in list(meters.items()):
        if meter.parent_id not in subscriptions or subscriptions[meter.parent_id][0] != owner:
            del meters[key]


def _let_meters_follow(stored: Stored, subscriptions: Desired) -> None:
    """A stored meter belongs to whom its subscription goes to, and is theirs to keep or to remove."""
    meters = stored["subscriptionmeter"]
    for key, row in meters.items():
        if row.parent_id in subscriptions:
            meters[key] = row._replace(owner_id=subscriptions[row.parent_id][0])


def _compare(
    kind: Kind,
    plan: Plan,
    *,
    desired: Desired,
    stored: Mapping[UUID, StoredChild],
    states: Mapping[UUID, Children],
) -> None:
    """Plan the writes and removals of one kind that make the rows of these customers what is desired."""
    for key, (owner, observed) in desired.items():
        row = stored.get(key)
        child = observed if row is None else _settle(kind, row, observed, states[owner])
        if row is None:
            _plan_write(plan, kind, ChangeKind.CREATED, owner, child, before=None)
        elif row.owner_id != owner:
            _plan_write(plan, kind, ChangeKind.MOVED, owner, child, before=row.payload)
            plan.changes.append(Change(ChangeKind.REMOVED, kind.name, key, row.owner_id, row.payload, None))
        elif not _is_same(kind, row, child):
            _plan_write(plan, kind, ChangeKind.UPDATED, owner, child, before=row.payload)
    for key, row in stored.items():
        if key in desired or row.owner_id not in states:
            continue
        if not is_out_of_sight(kind.name, row, states[row.owner_id]):
            plan.removals[kind.name].append(key)
            change = Change(ChangeKind.REMOVED, kind.name, key, row.owner_id, row.payload, None)
            plan.changes.append(change)


def _settle(kind: Kind, row: StoredChild, child: ChildPayload, children: Children) -> ChildPayload:
    payload = settle_payload(kind.name, row, child, children)
    return child if payload is child.payload else child._replace(payload=payload)


def _is_same(kind: Kind, row: StoredChild, child: ChildPayload) -> bool:
    if row.parent_id != child.parent_id or (kind.flag == "is_in_state" and row.is_in_state != child.is_in_state):
        return False
    return is_equal(row.payload, child.payload, timestamps=kind.shape.timestamps)


def _plan_write(
    plan: Plan, kind: Kind, change: ChangeKind, owner: UUID, child: ChildPayload, *, before: str | None
) -> None:
    writes = plan.inserts if change == ChangeKind.CREATED else plan.updates
    writes[kind.name].append(child)
    plan.changes.append(Change(change, kind.name, child.id, owner, before, child.payload))


def write_plan(plan: Plan, *, using: str) -> None:
    """Carry the plan out: a statement a kind for each of inserts, updates and removals, these meters first.

    Raises `RowsMovedError` where another batch, unseen until now, was the first to bring in one of the children.
    """
    for kind in KINDS:
        try:
            write_children(kind, plan.inserts[kind.name], is_new=True, using=using)
        except IntegrityError as error:
            raise RowsMovedError(f"a {kind.shape.name} was inserted") from error
        write_children(kind, plan.updates[kind.name], is_new=False, using=using)
    for kind in reversed(KINDS):
        remove_children(kind, plan.removals[kind.name], using=using)
