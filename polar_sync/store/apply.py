"""The one way in: guard by time, compare, write in bulk, report what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from polar_sync.exceptions import OrganizationMismatchError
from polar_sync.models import Customer, Organization
from polar_sync.signals import announce_changes
from polar_sync.store import parents
from polar_sync.store.changes import ApplyResult, Change, ChangeKind, Outcome
from polar_sync.store.children import KINDS, Stored, read_holders, read_owned
from polar_sync.store.locking import RowsMovedError, insert_missing, lock_sightings
from polar_sync.store.observations import Children, Folded, Observation, fold, is_due
from polar_sync.store.parents import CustomerRow, CustomerWrite, Sighting, build_customer
from polar_sync.store.plans import Plan, plan_children, write_plan

_MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Locked:
    """A batch under lock: what was known before, what holds after, and the plan for the children."""

    before: Mapping[UUID, Sighting]
    after: Mapping[UUID, Sighting]
    plan: Plan


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
    absent: frozenset[UUID] = frozenset()
    others: frozenset[UUID] = frozenset()
    for _ in range(_MAX_ATTEMPTS):
        try:
            with transaction.atomic(using=using):
                now = timezone.now()
                rows = [build_customer(key, folded[key], organization_id=polar_id, synced_at=now) for key in absent]
                insert_missing(rows, using=using)
                locked = _lock_and_plan(folded, others=others, using=using)
                result = _write(
                    folded, locked, organization=organization, using=using, seen=(run_id, pass_number), now=now
                )
                announce_changes(result.changes, organization=organization, using=using)
        except RowsMovedError as error:
            reason, absent, others = error, absent | error.absent, others | error.holders
        else:
            return result
    raise RuntimeError("Others kept changing the rows of this batch while they were being locked.") from reason


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


def _lock_and_plan(folded: Mapping[UUID, Folded], *, others: Collection[UUID], using: str) -> _Locked:
    """Lock the batch, and with it others who hold children that it tells of, all in id order; see what is to be done.

    Nearly always all of it has rows and its children already, which nobody else holds: that is what is tried first.
    """
    before = lock_sightings({*folded, *others}, using=using)
    if absent := folded.keys() - before.keys():
        raise RowsMovedError("a customer has no row", absent=absent)
    for owner in others:  # one that was loaded from a dump without its observation was never observed
        before.setdefault(owner, Sighting())
    after = {key: parents.merge_times(before[key], item) for key, item in folded.items()}
    states: dict[UUID, Children] = {}
    times: dict[UUID, datetime] = {}
    for key, item in folded.items():
        if item.children_at is not None and is_due(item.children_at, before[key].state_observed_at):
            states[key], times[key] = item.children, item.children_at
    stored = read_owned(before if states else (), using=using)
    holders = read_holders(_collect_new_ids(states.values(), stored), using=using)
    if holders := holders - before.keys():
        raise RowsMovedError("a child is another customer's", holders=holders)
    return _Locked(before, after, plan_children(states, times=times, stored=stored, before=before))


def _collect_new_ids(children: Iterable[Children], stored: Stored) -> dict[str, set[UUID]]:
    ids: dict[str, set[UUID]] = {kind.name: set() for kind in KINDS}
    for one in children:
        for kind in KINDS:
            known = stored[kind.name]
            ids[kind.name].update(key for key in getattr(one, kind.array) if key not in known)
    return ids


def _write(
    folded: Mapping[UUID, Folded],
    locked: _Locked,
    *,
    organization: Organization,
    using: str,
    seen: tuple[int | None, int | None],
    now: datetime,
) -> ApplyResult:
    rows = parents.read_customers(locked.after, using=using)
    if absent := locked.after.keys() - rows.keys():
        raise RowsMovedError("a customer was removed", absent=absent)
    _check_rows(rows, organization)
    writes = {
        key: parents.merge_customer(rows[key], folded[key], before=locked.before[key], after=after)
        for key, after in locked.after.items()
    }
    touched = {change.customer_id for change in locked.plan.changes}
    # Of one that is only known not to exist there is nothing to report.
    told = {key: write for key, write in writes.items() if locked.after[key].is_known}
    changes = [*_get_customer_changes(told, locked.before), *locked.plan.changes]
    # Who was inserted just now is as they should be already.
    changed = [
        write.row
        for key, write in writes.items()
        if write.is_changed or (key in touched and write.row.synced_at != now)
    ]
    parents.write_customers(changed, synced_at=now, using=using)
    if touched - writes.keys():  # customers outside the batch that lost a child to one of it
        Customer.all_objects.using(using).filter(pk__in=touched - writes.keys()).update(synced_at=now)
    write_plan(locked.plan, using=using)
    parents.write_sightings(_mark(locked.after, *seen), using=using)
    outcomes = {key: _get_outcome(folded[key], write, locked, is_touched=key in touched) for key, write in told.items()}
    return ApplyResult(outcomes, tuple(changes), {key: locked.before[key] for key in told})


def _check_rows(rows: Mapping[UUID, CustomerRow], organization: Organization) -> None:
    """An id is mirrored for one organization only; to any other, Polar says that there is no such customer."""
    for key, row in rows.items():
        if row.organization_id != organization.polar_id:
            raise OrganizationMismatchError(
                f"Customer {key} is mirrored for the Polar organization {row.organization_id}, but "
                f"{organization.name!r} is {organization.polar_id}. Nothing was written. Check which token POLAR_SYNC "
                "names for it."
            )


def _mark(sightings: Mapping[UUID, Sighting], run_id: int | None, pass_number: int | None) -> Mapping[UUID, Sighting]:
    if run_id is None:
        return sightings
    return {key: item._replace(seen_by_run=run_id, seen_in_pass=pass_number) for key, item in sightings.items()}


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
