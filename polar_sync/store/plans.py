"""What is to be done with the children of a batch: who holds which, compared with what is stored.

A child belongs to the customer whose latest state holds it. It comes and goes with a state that was read later than
what is stored; where nothing tells which of the two is the later, nothing is done about it and the customer is
unresolved, to be asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError

from polar_sync.models.tables import Table, get_tables
from polar_sync.payloads import is_equal
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.children import (
    Stored,
    StoredChild,
    is_out_of_sight,
    prefer_stored,
    remove_children,
    settle_payload,
    write_children,
)
from polar_sync.store.customers import ConcurrentChangeError, CustomerWrite
from polar_sync.store.observations import Children, Origin
from polar_sync.store.ordering import (
    ObservationRecord,
    Order,
    Reading,
    Source,
    get_later,
    get_version,
    prove_older,
    supersedes,
)
from polar_sync.store.results import Change, ChangeKind

Desired = dict[UUID, tuple[UUID, ChildPayload]]
"""The children of one kind by id, each with its owner."""


@dataclass(slots=True)
class ObservedChildren:
    """The children of one customer as they were observed, beside the reading of those that are stored.

    `order` is that of the two. `is_refused` is set where an object that is stored was newer than the observed one,
    `is_unresolved` where nothing tells whether a child has come or gone. `is_assumed` says that the order is that of
    the requests, as times leave it open and there is nobody to ask.
    """

    children: Children
    reading: Reading
    stored: Reading | None
    order: Order
    is_gone: bool = False
    is_assumed: bool = False
    is_refused: bool = False
    is_unresolved: bool = False

    @property
    def is_outdated(self) -> bool:
        """Whether what is stored is later."""
        return (self.reading.compare(self.stored) if self.is_gone else self.order) is Order.EARLIER

    @property
    def after(self) -> Reading | None:
        """The reading of what is stored after this."""
        if self.is_gone and self.stored is not None:
            return get_later(self.reading, self.stored)
        if self.order is Order.LATER:
            return self.reading
        if self.stored is None or self.order is Order.EARLIER or self.is_unresolved or self.is_refused:
            return self.stored
        return get_later(self.reading, self.stored)

    def get_extra(self, stored: str) -> str | None:
        """The state's own further fields as they are to be stored, None where the stored ones hold."""
        is_undecided = self.order is Order.OVERLAPPING and not self.reading.is_preferred(self.stored)
        if self.is_outdated or is_undecided or self.is_unresolved:
            return None
        return prefer_stored(stored, self.children.extra, fields=self.children.unreliable_fields.get("customer"))


@dataclass(slots=True)
class Plan:
    """What is to be done with the rows of each kind, and what that changes."""

    inserts: dict[str, list[ChildPayload]] = field(default_factory=lambda: {table.name: [] for table in get_tables()})
    updates: dict[str, list[ChildPayload]] = field(default_factory=lambda: {table.name: [] for table in get_tables()})
    removals: dict[str, list[UUID]] = field(default_factory=lambda: {table.name: [] for table in get_tables()})
    changes: list[Change] = field(default_factory=list)

    def add_write(self, change: ChangeKind, table: Table, owner: UUID, child: ChildPayload, before: str | None) -> None:
        """Have a child written, which `before` was stored as."""
        writes = self.inserts if change == ChangeKind.CREATED else self.updates
        writes[table.name].append(child)
        self.changes.append(Change(change, table.name, child.id, owner, before, child.payload))

    def add_removal(self, table: Table, row: StoredChild) -> None:
        """Have a child removed."""
        self.removals[table.name].append(row.id)
        self.changes.append(Change(ChangeKind.REMOVED, table.name, row.id, row.owner_id, row.payload, None))


def order_children(
    children: Children, reading: Reading, *, before: ObservationRecord, is_gone: bool
) -> ObservedChildren:
    """Say how observed children lie to the stored ones; of a customer who is gone, nothing is left in any order."""
    stored = before.state
    if is_gone:
        return ObservedChildren(Children(extra=children.extra), reading, stored, Order.LATER, is_gone=True)
    return _order(children, reading, stored)


def _order(children: Children, reading: Reading, stored: Reading | None) -> ObservedChildren:
    order = reading.compare(stored)
    if order is Order.LATER or stored is None:
        return ObservedChildren(children, reading, stored, order)
    is_follower = children.follows is not None and children.follows.state == stored
    if is_follower and stored.source is not Source.WRITTEN:  # whatever the clocks said, when either was read
        return ObservedChildren(children, reading, stored, Order.LATER)
    if order is Order.OVERLAPPING and children.is_final:
        order = Order.LATER if reading.is_later_request(stored) else Order.EARLIER
        return ObservedChildren(children, reading, stored, order, is_assumed=True)
    return ObservedChildren(children, reading, stored, order)


def narrow_states(
    observed: dict[UUID, ObservedChildren], *, stored: Stored, customers: Mapping[UUID, CustomerWrite]
) -> None:
    """A state that holds an object older than the stored version of it was read before that version came to be."""
    for key, one in observed.items():
        if one.children.origin is Origin.STATE and one.order is not Order.EARLIER:
            narrowed = prove_older(one.reading, _iterate_newer(one, stored=stored, customer=customers[key]))
            if narrowed is not one.reading:
                observed[key] = _order(one.children, narrowed, one.stored)


def _iterate_newer(one: ObservedChildren, *, stored: Stored, customer: CustomerWrite) -> Iterator[datetime]:
    """The stored versions of objects of which a state shows an older one."""
    own, row = one.children.own, customer.row
    pairs = [(row.payload, customer.after.own, own)] if own is not None else []
    for table in get_tables():
        rows = stored[table.name]
        shown = one.children.by_kind.get(table.name, {})
        pairs += [(rows[key].payload, one.stored, shown[key].payload) for key in shown.keys() & rows.keys()]
    for known, reading, observed in pairs:
        if known == observed:
            continue
        version, older = get_version(known, reading), get_version(observed, one.reading)
        if version is not None and older is not None and older < version:
            yield version


def plan_children(
    observed: Mapping[UUID, ObservedChildren], *, stored: Stored, before: Mapping[UUID, ObservationRecord]
) -> Plan:
    """Make the children of these customers what was observed, as far as that is later than what is stored.

    `stored` are the children of every customer who holds one that is told of, and `before` what was known of these.
    """
    desired = {table.name: _get_desired(table, observed) for table in get_tables()}
    for table in get_tables():
        _drop_held(desired[table.name], stored[table.name], observed=observed, before=before)
        _drop_undecided(desired[table.name], stored[table.name], observed=observed)
    for table in get_tables():
        _drop_strays(table, desired)
        _let_held_follow(table, stored, desired)
    plan = Plan()
    for table in get_tables():
        _compare(table, plan, desired=desired[table.name], stored=stored[table.name], observed=observed)
        _plan_removals(table, plan, desired=desired[table.name], stored=stored[table.name], observed=observed)
    return plan


def _get_desired(table: Table, observed: Mapping[UUID, ObservedChildren]) -> Desired:
    """Over all states of a batch: of two that hold a child, the later one."""
    desired: Desired = {}
    for owner in sorted(observed, key=lambda one: (observed[one].reading.interval.end, observed[one].reading.source)):
        for key, child in observed[owner].children.by_kind.get(table.name, {}).items():
            desired[key] = (owner, child)
    return desired


def _drop_held(
    desired: Desired,
    stored: Mapping[UUID, StoredChild],
    *,
    observed: Mapping[UUID, ObservedChildren],
    before: Mapping[UUID, ObservationRecord],
) -> None:
    """Leave a child where it is unless the state that claims it is later than its owner's stored one."""
    for key in desired.keys() & stored.keys():
        claimant, holder = observed[desired[key][0]], stored[key].owner_id
        if holder in observed:
            continue
        order = order_children(claimant.children, claimant.reading, before=before[holder], is_gone=False).order
        if order is not Order.LATER and not _is_decided(claimant):
            claimant.is_unresolved |= order is Order.OVERLAPPING
            del desired[key]


def _is_decided(claimant: ObservedChildren) -> bool:
    """Whether it was asked for after all that is stored was read."""
    return claimant.children.follows is not None and claimant.children.follows.state == claimant.stored


def _drop_undecided(
    desired: Desired, stored: Mapping[UUID, StoredChild], *, observed: Mapping[UUID, ObservedChildren]
) -> None:
    """Of children that are new to their owner, those stay that a later state tells of, or that are later themselves.

    Where the order is assumed, what may have been taken away already does not come back: rather for a moment too
    little than access for somebody who has none.
    """
    for key, (owner, child) in list(desired.items()):
        one, row = observed[owner], stored.get(key)
        is_sure = one.order is Order.LATER and not one.is_assumed
        if is_sure or one.stored is None or (row is not None and row.owner_id == owner):
            continue
        version = get_version(child.payload, one.reading)
        known = one.stored.interval.start if one.is_assumed else one.stored.interval.end
        if version is None or version <= known:
            one.is_unresolved |= one.order is Order.OVERLAPPING
            del desired[key]


def _drop_strays(table: Table, desired: Mapping[str, Desired]) -> None:
    """What an object holds goes where it goes: drop what belongs to one that another customer holds."""
    if table.kind.parent is None:
        return
    parents, held = desired[table.kind.parent.name], desired[table.name]
    for key, (owner, child) in list(held.items()):
        if child.parent_id not in parents or parents[child.parent_id][0] != owner:
            del held[key]


def _let_held_follow(table: Table, stored: Stored, desired: Mapping[str, Desired]) -> None:
    """What is stored of it belongs to whom its parent goes to, and is theirs to keep or to remove."""
    if table.kind.parent is None:
        return
    parents, held = desired[table.kind.parent.name], stored[table.name]
    for key, row in held.items():
        if row.parent_id in parents:
            held[key] = row._replace(owner_id=parents[row.parent_id][0])


def _compare(
    table: Table,
    plan: Plan,
    *,
    desired: Desired,
    stored: Mapping[UUID, StoredChild],
    observed: Mapping[UUID, ObservedChildren],
) -> None:
    """Plan the writes of one kind."""
    for key, (owner, child) in desired.items():
        row = stored.get(key)
        if row is None:
            plan.add_write(ChangeKind.CREATED, table, owner, child, None)
            continue
        settled = _settle(table, row, child, observed[owner].children)
        if row.owner_id != owner:
            plan.add_write(ChangeKind.MOVED, table, owner, settled, row.payload)
            plan.changes.append(Change(ChangeKind.REMOVED, table.name, key, row.owner_id, row.payload, None))
        elif not is_same_child(table, row, settled):
            # Where it belongs is no field of its own, and what it belonged to may be about to go.
            if row.parent_id != settled.parent_id or _supersedes(row, settled, observed[owner]):
                plan.add_write(ChangeKind.UPDATED, table, owner, settled, row.payload)
            else:
                _refuse(observed[owner])


def _refuse(one: ObservedChildren) -> None:
    """Of a better source, what is stored holds; of an equal one, nothing tells which of the two is the later."""
    is_weaker = one.stored is not None and one.reading.source < one.stored.source
    if one.order is Order.OVERLAPPING and not is_weaker:
        one.is_unresolved = True
    else:
        one.is_refused = True


def _supersedes(row: StoredChild, child: ChildPayload, observed: ObservedChildren) -> bool:
    return supersedes(
        observed.reading,
        observed.stored,
        version=get_version(child.payload, observed.reading),
        stored_version=get_version(row.payload, observed.stored),
        order=observed.order,
    )


def _settle(table: Table, row: StoredChild, child: ChildPayload, children: Children) -> ChildPayload:
    payload = settle_payload(table.name, row, child, children)
    return child if payload is child.payload else child._replace(payload=payload)


def is_same_child(table: Table, row: StoredChild, child: ChildPayload) -> bool:
    """Whether writing the child would change its row."""
    if row.parent_id != child.parent_id or (table.is_flagged and row.is_in_state != child.is_in_state):
        return False
    return is_equal(row.payload, child.payload, timestamps=table.kind.timestamps)


def _plan_removals(
    table: Table,
    plan: Plan,
    *,
    desired: Collection[UUID],
    stored: Mapping[UUID, StoredChild],
    observed: Mapping[UUID, ObservedChildren],
) -> None:
    """Plan the removal of what these customers no longer have."""
    for key, row in stored.items():
        if key in desired or row.owner_id not in observed:
            continue
        one = observed[row.owner_id]
        if one.order is Order.EARLIER or is_out_of_sight(table.name, row, one.children, order=one.order):
            continue
        if one.order is Order.OVERLAPPING:
            one.is_unresolved = True
            continue
        plan.add_removal(table, row)


def write_plan(plan: Plan, *, using: str) -> None:
    """Carry the plan out: a statement a kind for each of inserts, updates and removals, these in reverse order.

    Raises `ConcurrentChangeError` where another batch, unseen until now, was the first to bring in one of the children.
    """
    for table in get_tables():
        try:
            write_children(table, plan.inserts[table.name], is_new=True, using=using)
        except IntegrityError as error:
            raise ConcurrentChangeError(f"a {table.kind.label} was inserted") from error
        write_children(table, plan.updates[table.name], is_new=False, using=using)
    for table in reversed(get_tables()):
        remove_children(table, plan.removals[table.name], using=using)
