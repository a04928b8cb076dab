"""Single objects as Polar's events report them: put beside what a state or the lists said, in the order of versions.

An event of a subscription or a grant is a snapshot from inside the transaction that changed it, and says nothing of
what else the customer has. What is stored of the customer's children was then read at more than one time: the interval
of their reading is made to cover all of it, so that what was read before the event does not undo it unasked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from polar_sync.models import Customer, Organization
from polar_sync.models.tables import Table, get_nested_tables, get_tables
from polar_sync.payloads import Interval
from polar_sync.payloads.objects import ChildPayload
from polar_sync.signals import announce_changes
from polar_sync.store.children import Stored, StoredChild, get_holders, get_owned, settle_payload
from polar_sync.store.customers import CustomerRow, check_rows, get_customers, lock_observation_records
from polar_sync.store.observations import Children, UnreliableFields
from polar_sync.store.ordering import ObservationRecord, Reading, get_version, write_observation_records
from polar_sync.store.plans import Plan, is_same_child, write_plan
from polar_sync.store.results import ChangeKind


class Verdict(Enum):
    """What became of a reported object.

    `STALE`: what is stored was read later. `DOUBTFUL`: nothing tells which of the two is the later, and nothing was
    written. `UNKNOWN`: what else the customer has is not known yet, so that this would be taken for all of it.
    """

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    STALE = "stale"
    DOUBTFUL = "doubtful"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class ReportedObject:
    """One object of a customer in the `version` that was reported at `reported_at`, both on Polar's clock.

    `children` are the object and what it holds, by kind and id; empty where the customer does not have it any more.
    """

    table: Table
    id: UUID
    customer_id: UUID
    version: datetime
    reported_at: datetime
    children: Mapping[str, Mapping[UUID, ChildPayload]] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """What is stored of the customers of a batch, under lock, and what is to be done."""

    records: dict[UUID, ObservationRecord]
    rows: Mapping[UUID, CustomerRow]
    stored: Stored
    held_elsewhere: Collection[UUID]
    unreliable_fields: UnreliableFields
    plan: Plan = field(default_factory=Plan)


def apply_reports(
    reports: Iterable[ReportedObject], *, organization: Organization, unreliable_fields: UnreliableFields
) -> dict[ReportedObject, Verdict]:
    """Bring the mirror to what was reported, of each object the newest version; the verdict on each of these.

    Joins the caller's transaction, in which the customers stay locked. Raises `OrganizationMismatchError`, with nothing
    written, where a customer is another organization's.
    """
    newest: dict[UUID, ReportedObject] = {}
    for each in sorted(reports, key=lambda each: (each.version, each.reported_at)):
        newest[each.id] = each
    if not newest:
        return {}
    using = router.db_for_write(Customer)
    with transaction.atomic(using=using):
        batch = _lock(newest.values(), unreliable_fields=unreliable_fields, using=using)
        check_rows(batch.rows, organization)
        verdicts = {each: _plan(each, batch) for each in newest.values()}
        extended = {
            each.customer_id: _extend(batch, each)
            for each, verdict in verdicts.items()
            if verdict in {Verdict.APPLIED, Verdict.UNCHANGED}
        }
        write_plan(batch.plan, using=using)
        touched = {change.customer_id for change in batch.plan.changes}
        if touched:
            Customer.all_objects.using(using).filter(pk__in=touched).update(synced_at=timezone.now())
        write_observation_records(extended, using=using)
        announce_changes(batch.plan.changes, organization=organization, using=using)
    return verdicts


def _lock(reports: Collection[ReportedObject], *, unreliable_fields: UnreliableFields, using: str) -> _Batch:
    owners = sorted({each.customer_id for each in reports})
    records = lock_observation_records(owners, using=using)
    stored = get_owned(records, using=using)
    missing: dict[str, set[UUID]] = {table.name: set() for table in get_tables()}
    for each in reports:
        for name, children in each.children.items():
            missing[name] |= children.keys() - stored[name].keys()
    elsewhere: set[UUID] = set()
    if any(missing.values()) and get_holders(missing, using=using):
        for each in reports:
            wanted = {name: children.keys() & missing[name] for name, children in each.children.items()}
            held = {**{table.name: set() for table in get_tables()}, **wanted}
            if any(wanted.values()) and get_holders(held, using=using):
                elsewhere.add(each.id)
    return _Batch(records, get_customers(records, using=using), stored, elsewhere, unreliable_fields)


def _plan(report: ReportedObject, batch: _Batch) -> Verdict:
    record, row = batch.records.get(report.customer_id), batch.rows.get(report.customer_id)
    if record is None or row is None or record.state is None:
        return Verdict.UNKNOWN
    if row.deleted_at is not None:
        return Verdict.STALE
    if report.id in batch.held_elsewhere:
        return Verdict.DOUBTFUL
    stored = batch.stored[report.table.name].get(report.id)
    verdict = _compare(report, stored, record.state) if stored else _compare_absent(report, record.state)
    if verdict is Verdict.APPLIED and not _plan_object(report, stored, batch):
        return Verdict.UNCHANGED
    return verdict


def _compare(report: ReportedObject, stored: StoredChild, reading: Reading) -> Verdict:
    """Whether a report holds against the stored version of its object."""
    version = get_version(stored.payload, None)
    if version is None or report.version > version:
        return Verdict.APPLIED
    if report.version < version:
        return Verdict.STALE
    shown = report.children.get(report.table.name, {}).get(report.id)
    if shown is not None and is_same_child(report.table, stored, shown):
        return Verdict.UNCHANGED
    return Verdict.APPLIED if report.reported_at > reading.interval.end else Verdict.DOUBTFUL


def _compare_absent(report: ReportedObject, reading: Reading) -> Verdict:
    """The same of an object that is not stored, by when all that is stored was read."""
    if not report.children:
        return Verdict.UNCHANGED if report.version > reading.interval.start else Verdict.STALE
    if report.version > reading.interval.end:
        return Verdict.APPLIED
    # Who read all of them later than this did not find it.
    return Verdict.STALE if report.version < reading.interval.start else Verdict.DOUBTFUL


def _plan_object(report: ReportedObject, stored: StoredChild | None, batch: _Batch) -> bool:
    """Plan to make the object and what it holds as they were reported; False where they are so already."""
    planned = len(batch.plan.changes)
    if stored is not None and not report.children:
        batch.plan.add_removal(report.table, stored)
    for child in report.children.get(report.table.name, {}).values():
        _plan_child(report.table, child, report.customer_id, batch)
    for table in get_nested_tables(report.table):
        shown = report.children.get(table.name, {})
        for row in batch.stored[table.name].values():
            if row.parent_id == report.id and row.id not in shown:
                batch.plan.add_removal(table, row)
        for child in shown.values():
            _plan_child(table, child, report.customer_id, batch)
    return len(batch.plan.changes) > planned


def _plan_child(table: Table, child: ChildPayload, owner: UUID, batch: _Batch) -> None:
    row = batch.stored[table.name].get(child.id)
    if row is None:
        batch.plan.add_write(ChangeKind.CREATED, table, owner, child, None)
        return
    version, stored_version = get_version(child.payload, None), get_version(row.payload, None)
    if version is not None and stored_version is not None and version < stored_version:
        return  # a meter is recounted apart from the subscription that holds it
    unreliable = Children(unreliable_fields=batch.unreliable_fields)
    settled = child._replace(payload=settle_payload(table.name, row, child, unreliable))
    if not is_same_child(table, row, settled):
        batch.plan.add_write(ChangeKind.UPDATED, table, owner, settled, row.payload)


def _extend(batch: _Batch, report: ReportedObject) -> ObservationRecord:
    """The record of the customer, whose children were now read until the report too."""
    record = batch.records[report.customer_id]
    reading = record.state
    if reading is not None:
        until = max(reading.interval.end, report.version, report.reported_at)
        record = record.with_state(Reading(Interval(reading.interval.start, until), reading.source))
        batch.records[report.customer_id] = record
    return record
