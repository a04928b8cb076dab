"""The one way in: guard by time, compare, write in bulk, report what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from polar_sync.exceptions import OrganizationMismatchError
from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.models.tables import get_tables
from polar_sync.payloads import Interval
from polar_sync.signals import announce_changes
from polar_sync.store import customers
from polar_sync.store.children import Stored, get_holders, get_owned
from polar_sync.store.customers import (
    ConcurrentChangeError,
    CustomerWrite,
    build_customer,
    check_rows,
    insert_missing,
    lock_observation_records,
)
from polar_sync.store.observations import Children, MergedObservation, Observation, Origin, merge_observations
from polar_sync.store.ordering import ObservationRecord, Order, Reading, Source, write_observation_records
from polar_sync.store.plans import ObservedChildren, Plan, narrow_states, order_children, plan_children, write_plan
from polar_sync.store.results import ApplyResult, Change, ChangeKind, Outcome

_MAX_ATTEMPTS = 10
_IMPOSSIBLE_LEAD = timedelta(days=1)
_LONG_AGO = Reading(Interval.at(datetime.min.replace(tzinfo=UTC)), Source.STATE)


@dataclass(frozen=True, slots=True)
class _Locked:
    """A batch under lock: what was known before, what becomes of each customer, and of their children."""

    before: Mapping[UUID, ObservationRecord]
    writes: Mapping[UUID, CustomerWrite]
    observed: Mapping[UUID, ObservedChildren]
    plan: Plan

    @property
    def unresolved(self) -> set[UUID]:
        return {key for key, one in self.observed.items() if one.is_unresolved}


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
    merged = merge_observations(observations)
    polar_id = _get_polar_id(organization, merged)
    using = router.db_for_write(Customer)
    absent: frozenset[UUID] = frozenset()
    others: frozenset[UUID] = frozenset()
    for _ in range(_MAX_ATTEMPTS):
        try:
            with transaction.atomic(using=using):
                now = timezone.now()
                rows = [build_customer(key, merged[key], organization_id=polar_id, synced_at=now) for key in absent]
                insert_missing(rows, using=using)
                locked = _lock_and_plan(merged, organization=organization, others=others, using=using, now=now)
                result = _write(merged, locked, using=using, seen=(run_id, pass_number), now=now)
                announce_changes(result.changes, organization=organization, using=using)
        except ConcurrentChangeError as error:
            reason, absent, others = error, absent | error.absent, others | error.holders
        else:
            return result
    raise RuntimeError("Others kept changing the rows of this batch while they were being locked.") from reason


def lock_customers(
    ids: Iterable[UUID], observations: Iterable[Observation], *, organization: Organization
) -> dict[UUID, ObservationRecord]:
    """Lock all customers that a transaction is about, in the order of ids, and read what is noted of them.

    Those whom the observations tell of and who have no row are inserted first, so that none of them has to be locked
    later, out of that order. Raises `OrganizationMismatchError` as `apply` does.
    """
    using = router.db_for_write(Customer)
    merged = merge_observations(observations)
    if merged:
        polar_id, now = _get_polar_id(organization, merged), timezone.now()
        known = CustomerObservation.objects.using(using).filter(pk__in=list(merged)).values_list("pk", flat=True)
        absent = merged.keys() - set(known)
        rows = [build_customer(key, merged[key], organization_id=polar_id, synced_at=now) for key in absent]
        insert_missing(rows, using=using)
    return lock_observation_records({*ids, *merged}, using=using)


def _get_polar_id(organization: Organization, merged: Mapping[UUID, MergedObservation]) -> UUID:
    if organization.polar_id is None:
        raise OrganizationMismatchError(f"It is not known yet which Polar organization {organization.name!r} is.")
    for item in merged.values():
        named = item.own.organization_id if item.own else None
        if named is not None and named != organization.polar_id:
            raise OrganizationMismatchError(
                f"Customer {item.id} belongs to the Polar organization {named}, but {organization.name!r} is "
                f"{organization.polar_id}. Nothing was written. Check which token POLAR_SYNC names for it."
            )
    return organization.polar_id


def _lock_and_plan(
    merged: Mapping[UUID, MergedObservation],
    *,
    organization: Organization,
    others: Collection[UUID],
    using: str,
    now: datetime,
) -> _Locked:
    """Lock the batch, and with it others who hold children that it tells of, all in id order; see what is to be done.

    Nearly always all of it has rows and its children already, which nobody else holds: that is what is tried first.
    """
    before = lock_observation_records({*merged, *others}, using=using)
    if absent := merged.keys() - before.keys():
        raise ConcurrentChangeError("a customer has no row", absent=absent)
    for owner in others:  # one that was loaded from a dump without its observation was never observed
        before.setdefault(owner, ObservationRecord())
    latest = _get_latest(merged, now=now)
    before = {key: _drop_impossible(record, latest=latest) for key, record in before.items()}
    rows = customers.get_customers(merged, using=using)
    if absent := merged.keys() - rows.keys():
        raise ConcurrentChangeError("a customer was removed", absent=absent)
    check_rows(rows, organization)
    writes = {key: customers.merge_customer(rows[key], item, before=before[key]) for key, item in merged.items()}
    observed = _order_all(merged, writes, before)
    stored = get_owned(before if observed else (), using=using)
    narrow_states(observed, stored=stored, customers=writes)
    holders = get_holders(_collect_new_ids((one.children for one in observed.values()), stored), using=using)
    if holders := holders - before.keys():
        raise ConcurrentChangeError("a child is another customer's", holders=holders)
    return _Locked(before, writes, observed, plan_children(observed, stored=stored, before=before))


def _drop_impossible(record: ObservationRecord, *, latest: datetime) -> ObservationRecord:
    """Times that nothing can have been read at guard nothing: else they would until they have come."""
    if record.own is not None and record.own.interval.start > latest:
        record = record.with_own(_LONG_AGO)
    if record.state is not None and record.state.interval.start > latest:
        record = record.with_state(_LONG_AGO)
    if record.absent_at is not None and record.absent_at > latest:
        record = record._replace(absent_at=None)
    return record


def _get_latest(merged: Mapping[UUID, MergedObservation], *, now: datetime) -> datetime:
    """A time that no answer so far can be of, on whichever clock."""
    readings = [each for item in merged.values() for each in (item.own_reading, item.children_reading)]
    return max([now, *(each.interval.end for each in readings if each is not None)]) + _IMPOSSIBLE_LEAD


def _order_all(
    merged: Mapping[UUID, MergedObservation],
    writes: Mapping[UUID, CustomerWrite],
    before: Mapping[UUID, ObservationRecord],
) -> dict[UUID, ObservedChildren]:
    observed: dict[UUID, ObservedChildren] = {}
    for key, item in merged.items():
        if item.children_reading is None:
            continue
        is_gone = writes[key].row.deleted_at is not None
        one = order_children(item.children, item.children_reading, before=before[key], is_gone=is_gone)
        # That a customer is gone, where that may not be so, says nothing of what they have.
        is_doubtful = one.order is Order.OVERLAPPING or writes[key].is_absence_doubtful
        if is_gone or item.children.origin is not Origin.GONE or not is_doubtful:
            observed[key] = one
    return observed


def _collect_new_ids(children: Iterable[Children], stored: Stored) -> dict[str, set[UUID]]:
    ids: dict[str, set[UUID]] = {table.name: set() for table in get_tables()}
    for one in children:
        for table in get_tables():
            known = stored[table.name]
            ids[table.name].update(key for key in one.by_kind.get(table.name, {}) if key not in known)
    return ids


def _write(
    merged: Mapping[UUID, MergedObservation],
    locked: _Locked,
    *,
    using: str,
    seen: tuple[int | None, int | None],
    now: datetime,
) -> ApplyResult:
    before, writes, unresolved = locked.before, locked.writes, locked.unresolved
    for key, one in locked.observed.items():
        extra = one.get_extra(writes[key].row.state_extra)
        # Of one of whom times leave open what holds, nothing counts as answered yet.
        answered_at = writes[key].after.answered_at if key in unresolved else now
        writes[key].take_state(extra, reading=one.after, answered_at=answered_at)
    touched = {change.customer_id for change in locked.plan.changes}
    # Of one that is only known not to exist there is nothing to report.
    known = {key: write for key, write in writes.items() if write.after.is_known}
    changes = [*_get_customer_changes(known, before), *locked.plan.changes]
    # Who was inserted just now is as they should be already.
    changed = [
        write.row
        for key, write in writes.items()
        if write.is_changed or (key in touched and write.row.synced_at != now)
    ]
    customers.write_customers(changed, synced_at=now, using=using)
    if touched - writes.keys():  # customers outside the batch that lost a child to one of it
        Customer.all_objects.using(using).filter(pk__in=touched - writes.keys()).update(synced_at=now)
    write_plan(locked.plan, using=using)
    records = {key: write.after for key, write in writes.items()}
    write_observation_records({**records, **_mark(records, *seen, without=unresolved)}, using=using)
    return ApplyResult(
        {
            key: _get_outcome(merged[key], write, locked, is_touched=key in touched)
            for key, write in known.items()
            if key not in unresolved
        },
        tuple(changes),
        {key: before[key] for key in known if key not in unresolved},
        {key: records[key] for key in unresolved},
    )


def _mark(
    records: Mapping[UUID, ObservationRecord], run_id: int | None, pass_number: int | None, *, without: Collection[UUID]
) -> Mapping[UUID, ObservationRecord]:
    if run_id is None:
        return {}
    return {
        key: item._replace(seen_by_run=run_id, seen_in_pass=pass_number)
        for key, item in records.items()
        if key not in without
    }


def _get_customer_changes(
    writes: Mapping[UUID, CustomerWrite], before: Mapping[UUID, ObservationRecord]
) -> Iterable[Change]:
    for key, write in writes.items():
        if not before[key].is_known:
            yield Change(ChangeKind.CREATED, "customer", key, key, None, write.row.payload)
        elif write.is_changed:
            yield Change(ChangeKind.UPDATED, "customer", key, key, write.before, write.row.payload)


def _get_outcome(item: MergedObservation, write: CustomerWrite, locked: _Locked, *, is_touched: bool) -> Outcome:
    if write.was_living and write.row.deleted_at is not None:
        return Outcome.DELETED
    if not locked.before[item.id].is_known:
        return Outcome.CREATED
    if write.is_changed or is_touched:
        return Outcome.UPDATED
    return Outcome.STALE if all(_iterate_refusals(item, write, locked)) else Outcome.UNCHANGED


def _iterate_refusals(item: MergedObservation, write: CustomerWrite, locked: _Locked) -> Iterable[bool]:
    """For each part that something was said of, whether what is stored of it is later."""
    if item.own is not None:
        yield write.is_refused
    if item.children_reading is not None:
        one = locked.observed.get(item.id)
        yield one is None or one.is_outdated
