"""The one way in: guard by time, compare, write in bulk, report what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from polar_sync.exceptions import OrganizationMismatchError
from polar_sync.models import Customer, Organization
from polar_sync.signals import announce_changes
from polar_sync.store import children as child_rows
from polar_sync.store import parents
from polar_sync.store.changes import ApplyResult, Change, ChangeKind, Outcome
from polar_sync.store.observations import Children, Folded, Observation, fold, is_due
from polar_sync.store.parents import CustomerWrite, Sighting

_MAX_LOCK_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Locked:
    """A batch under lock: what was known before, what holds after, and the plan for the children."""

    before: Mapping[UUID, Sighting]
    after: Mapping[UUID, Sighting]
    plan: child_rows.Plan


class _OutsideOwnersError(Exception):
    """Children come over from customers whose rows are not locked yet."""

    def __init__(self, owners: set[UUID]) -> None:
        super().__init__()
        self.owners = owners


def apply(
    observations: Iterable[Observation],
    *,
    organization: Organization,
    run_id: int | None = None,
    pass_number: int | None = None,
) -> ApplyResult:
    """Bring the mirror to what these observations say; joins the caller's transaction.

    Keep a batch to some 100 customers: all of them stay locked until the transaction ends. `run_id` and `pass_number`
    mark every customer of the batch as seen by that run, be it stale or not. Signals go out after commit. Raises
    `OrganizationMismatchError`, with nothing written, where Polar names another organization than this one.
    """
    folded = fold(observations)
    polar_id = _get_polar_id(organization, folded)
    using = router.db_for_write(Customer)
    with transaction.atomic(using=using):
        parents.insert_missing(folded, organization_id=polar_id, using=using)
        locked = _lock_and_plan(folded, using=using)
        result = _write(folded, locked, using=using, run_id=run_id, pass_number=pass_number)
        announce_changes(result.changes, organization=organization, using=using)
    return result


def _get_polar_id(organization: Organization, folded: Mapping[UUID, Folded]) -> UUID:
    if organization.polar_id is None:
        raise OrganizationMismatchError(f"It is not known yet which Polar organization {organization.name!r} is.")
    for item in folded.values():
        named = item.own.organization_id if item.own else None
        if named is not None and named != organization.polar_id:
            raise OrganizationMismatchError(
                f"Customer {item.id} belongs to the Polar organization {named}, but {organization.name!r} is "
                f"{organization.polar_id}. Nothing was written. Check which token POLAR_SYNC names for it."
            )
    return organization.polar_id


def _lock_and_plan(folded: Mapping[UUID, Folded], *, using: str) -> _Locked:
    """Lock the batch, and with it the owners of children that come over, all in id order.

    Owners are known only after reading; if some are outside the batch, its locks are given back and all are taken anew.
    """
    ids = set(folded)
    for _ in range(_MAX_LOCK_ATTEMPTS):
        try:
            with transaction.atomic(using=using):
                return _plan(folded, parents.lock_sightings(ids, using=using), using=using)
        except _OutsideOwnersError as error:
            ids |= error.owners
    raise RuntimeError("The owners of incoming children kept changing while they were being locked.")


def _plan(folded: Mapping[UUID, Folded], before: Mapping[UUID, Sighting], *, using: str) -> _Locked:
    after = {key: parents.merge_times(before[key], item) for key, item in folded.items() if key in before}
    states: dict[UUID, Children] = {}
    for key in after:
        item = folded[key]
        if item.children_at is not None and is_due(item.children_at, before[key].state_observed_at):
            states[key] = item.children
    plan = child_rows.Plan()
    if not states:
        return _Locked(before, after, plan)
    stored = child_rows.read_owned(states, using=using)
    times = {key: item.children_at for key, item in folded.items() if item.children_at is not None}
    desired = {kind.name: child_rows.get_desired(kind, states, times) for kind in child_rows.KINDS}
    _add_incoming(desired, stored, before, times, using=using)
    _drop_stray_meters(desired)
    for kind in child_rows.KINDS:
        child_rows.compare(kind, plan, desired=desired[kind.name], stored=stored[kind.name], customer_ids=states.keys())
    return _Locked(before, after, plan)


def _add_incoming(
    desired: dict[str, dict[UUID, Any]],
    stored: child_rows.Stored,
    before: Mapping[UUID, Sighting],
    times: Mapping[UUID, Any],
    *,
    using: str,
) -> None:
    """Look up who holds the children that these customers did not have; drop those that a later state holds."""
    incoming = {name: of_kind.keys() - stored[name].keys() for name, of_kind in desired.items()}
    if not any(incoming.values()):
        return
    held = child_rows.read_by_id(incoming, using=using)
    owners = {row.owner_id for of_kind in held.values() for row in of_kind.values()}
    if owners - before.keys():
        raise _OutsideOwnersError(owners - before.keys())
    for name, of_kind in held.items():
        for key, row in of_kind.items():
            if is_due(times[desired[name][key][0]], before[row.owner_id].state_observed_at):
                stored[name][key] = row
            else:
                del desired[name][key]
    coming = held["subscription"].keys() & desired["subscription"].keys()
    if coming:
        for key, row in child_rows.read_meters_of(coming, using=using).items():
            owner = desired["subscription"][row.parent_id][0]
            stored["subscriptionmeter"][key] = replace(row, owner_id=owner)


def _drop_stray_meters(desired: dict[str, dict[UUID, Any]]) -> None:
    """A subscription's meters go where it goes: drop those whose subscription another customer holds."""
    subscriptions, meters = desired["subscription"], desired["subscriptionmeter"]
    for key, (owner, meter) in list(meters.items()):
        if meter.parent_id not in subscriptions or subscriptions[meter.parent_id][0] != owner:
            del meters[key]


def _write(
    folded: Mapping[UUID, Folded],
    locked: _Locked,
    *,
    using: str,
    run_id: int | None,
    pass_number: int | None,
) -> ApplyResult:
    rows = parents.read_customers(locked.after, using=using)
    writes = {
        key: parents.merge_customer(rows[key], folded[key], before=locked.before[key], after=after)
        for key, after in locked.after.items()
    }
    touched = {change.customer_id for change in locked.plan.changes}
    changes = [*_get_customer_changes(writes, locked.before), *locked.plan.changes]
    changed = [write.row for key, write in writes.items() if write.is_changed or key in touched]
    now = timezone.now()
    parents.write_customers(changed, synced_at=now, using=using)
    if touched - writes.keys():  # customers outside the batch that lost a child to one of it
        Customer.all_objects.using(using).filter(pk__in=touched - writes.keys()).update(synced_at=now)
    child_rows.write(locked.plan, using=using)
    parents.write_sightings(_mark(locked.after, run_id, pass_number), using=using)
    outcomes = {
        key: _get_outcome(folded[key], write, locked, is_touched=key in touched) for key, write in writes.items()
    }
    return ApplyResult(outcomes, tuple(changes), {key: locked.before[key] for key in writes})


def _mark(
    sightings: Mapping[UUID, Sighting], run_id: int | None, pass_number: int | None
) -> Mapping[UUID, Sighting]:
    if run_id is None:
        return sightings
    return {key: replace(item, seen_by_run=run_id, seen_in_pass=pass_number) for key, item in sightings.items()}


def _get_customer_changes(writes: Mapping[UUID, CustomerWrite], before: Mapping[UUID, Sighting]) -> Iterable[Change]:
    for key, write in writes.items():
        if not before[key].is_known:
            yield Change(ChangeKind.CREATED, "customer", key, key, None, write.row.payload)
        elif write.is_changed:
            yield Change(ChangeKind.UPDATED, "customer", key, key, write.before, write.row.payload)


def _get_outcome(item: Folded, write: CustomerWrite, locked: _Locked, *, is_touched: bool) -> Outcome:
    before, after = locked.before[item.id], locked.after[item.id]
    if write.was_living and write.row.deleted_at is not None:
        return Outcome.DELETED
    if not before.is_known:
        return Outcome.CREATED
    if write.is_changed or is_touched:
        return Outcome.UPDATED
    return Outcome.STALE if after == before and not _is_repeated(item, before) else Outcome.UNCHANGED


def _is_repeated(item: Folded, before: Sighting) -> bool:
    """The same times again are no news, but neither are they out of date."""
    return any(
        (
            item.own_at is not None and item.own_at == before.observed_at,
            item.children_at is not None and item.children_at == before.state_observed_at,
            item.absent_at is not None and item.absent_at == before.absent_at,
        )
    )
