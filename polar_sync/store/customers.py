"""The customers' own rows: looked up, inserted where missing, locked in the order of ids, compared, written.

One order for everybody is what keeps two batches from waiting for each other. Whoever holds the lock of a customer may
change the rows of its children, and nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.exceptions import OrganizationMismatchError
from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.payloads import CUSTOMER, dump_canonical, is_equal
from polar_sync.payloads.objects import CustomerPayload
from polar_sync.store.observations import MergedObservation, Observation
from polar_sync.store.ordering import (
    ObservationRecord,
    Order,
    Reading,
    Source,
    get_later,
    get_version,
    supersedes,
    trust_version,
)

_COLUMNS = (*CUSTOMER.columns, "payload", "extra", "state_extra", "synced_at", "scrubbed_at")


@dataclass(slots=True)
class CustomerRow:
    """What is mirrored of a customer's own: what its columns are projected from."""

    id: UUID
    organization_id: UUID
    payload: str
    extra: str
    state_extra: str
    deleted_at: datetime | None
    synced_at: datetime | None


@dataclass(slots=True)
class CustomerWrite:
    """What becomes of one customer beside its children: `row` as it is to be, and its record `after`.

    `is_refused` says that the customer's own fields, as they were observed, are older than what is stored, and
    `is_absence_doubtful` that nothing tells whether they were not there any more, or not there yet.
    """

    row: CustomerRow
    before: str
    after: ObservationRecord
    was_living: bool
    is_changed: bool = False
    is_refused: bool = False
    is_absence_doubtful: bool = False

    def take_state(self, extra: str | None, *, reading: Reading | None, answered_at: datetime | None) -> None:
        """Take the state's own further fields, None where they are to stay, and the reading of all that it holds."""
        if extra is not None:
            self.is_changed |= _set_text(self.row, "state_extra", extra)
        self.after = self.after.with_state(reading)._replace(answered_at=answered_at)


def get_customers(ids: Iterable[UUID], *, using: str) -> dict[UUID, CustomerRow]:
    """What is mirrored of these customers."""
    rows = Customer.all_objects.using(using).filter(pk__in=list(ids))
    columns = ("id", "organization_id", "payload", "extra", "state_extra", "deleted_at", "synced_at")
    return {row[0]: CustomerRow(*row) for row in rows.values_list(*columns)}


def check_rows(rows: Mapping[UUID, CustomerRow], organization: Organization) -> None:
    """An id is mirrored for one organization only; to any other, Polar says that there is no such customer.

    Raises `OrganizationMismatchError`.
    """
    for key, row in rows.items():
        if row.organization_id != organization.polar_id:
            raise OrganizationMismatchError(
                f"Customer {key} is mirrored for the Polar organization {row.organization_id}, but "
                f"{organization.name!r} is {organization.polar_id}. Nothing was written. Check which token POLAR_SYNC "
                "names for it."
            )


def build_customer(key: UUID, item: MergedObservation, *, organization_id: UUID, synced_at: datetime) -> CustomerRow:
    """The row of a customer who has none yet: bare where nothing of their own was said."""
    payload = item.own.payload if item.own is not None else dump_canonical({"id": str(key)})
    return CustomerRow(key, organization_id, payload, item.extra, item.children.extra, None, synced_at)


def merge_customer(row: CustomerRow, item: MergedObservation, *, before: ObservationRecord) -> CustomerWrite:
    """Bring one row to what was observed of the customer's own fields and existence."""
    write = CustomerWrite(row, row.payload, before, was_living=before.is_known and row.deleted_at is None)
    is_older = False
    if item.own is not None and item.own_reading is not None:
        is_older = _merge_own(write, item.own, item.own_reading)
    if item.extra_at is not None and not is_older and _is_due(item.extra_at, before.extra_observed_at):
        write.after = write.after._replace(extra_observed_at=item.extra_at)
        write.is_changed |= _set_text(row, "extra", item.extra)
    _merge_absence(write, item.absence, before=before)
    write.is_changed |= _set_deleted(row, write.after.absent_at)
    return write


def _is_due(as_of: datetime, stored: datetime | None) -> bool:
    return stored is None or as_of >= stored


def _merge_own(write: CustomerWrite, own: CustomerPayload, reading: Reading) -> bool:
    """Take the fields if they hold against the stored ones; returns whether they are an older version of them."""
    stored = write.after.own
    is_same = is_equal(write.row.payload, own.payload, timestamps=CUSTOMER.timestamps)
    if stored is not None and is_same:
        write.after = write.after.with_own(get_later(reading, stored))
        write.is_refused = reading.compare(stored) is Order.EARLIER
        return False
    version, stored_version = trust_version(own.version, reading), get_version(write.row.payload, stored)
    if supersedes(reading, stored, version=version, stored_version=stored_version):
        write.after = write.after.with_own(reading)
        if not is_same:
            write.row.payload, write.is_changed = own.payload, True
        return False
    write.is_refused = True
    return version is not None and stored_version is not None and version < stored_version


def _merge_absence(write: CustomerWrite, absence: Observation | None, *, before: ObservationRecord) -> None:
    """Deletion is final: of what may be of one moment, the absence holds."""
    if absence is not None and not _is_absent(write, absence, before=before):
        write.is_absence_doubtful = absence.reading.compare(write.after.own) is Order.OVERLAPPING
    elif absence is not None:
        # Whatever was read, and however that was timed, it was before.
        is_written = absence.reading.source is Source.WRITTEN
        latest = write.after.observed_until if is_written else write.after.observed_at
        times = [absence.reading.interval.end, write.after.absent_at, latest]
        write.after = write.after._replace(absent_at=max(filter(None, times)))
    own, absent_at = write.after.own, write.after.absent_at
    if own is not None and absent_at is not None and own.interval.start > absent_at:
        write.after = write.after._replace(absent_at=None)


def _is_absent(write: CustomerWrite, absence: Observation, *, before: ObservationRecord) -> bool:
    """Whether an answer that there is no such customer holds against what was read of the customer.

    What was read before the request was sent cannot be later than its answer, but for the answer to a write: the
    replica that says so may not have it yet. Who was created before the request is not going to appear after it.
    """
    own = write.after.own
    if own is None or absence.reading.source is Source.WRITTEN:
        return True
    if own.source is not Source.WRITTEN and absence.follows is not None and absence.follows.own == before.own == own:
        return True
    order = absence.reading.compare(own)
    if order is not Order.OVERLAPPING:
        return order is Order.LATER
    created_at = CUSTOMER.project(write.row.payload)["created_at"]
    return created_at is not None and created_at < absence.reading.interval.start


def _set_text(row: CustomerRow, name: str, text: str) -> bool:
    """For further fields: JSON text of an object, or nothing."""
    stored = getattr(row, name)
    if stored == text or (stored and text and is_equal(stored, text, timestamps=())):
        return False
    setattr(row, name, text)
    return True


def _set_deleted(row: CustomerRow, absent_at: datetime | None) -> bool:
    """Polar's own `deleted_at` where it gave one, else when it said that the customer is not there."""
    deleted_at = CUSTOMER.project(row.payload)["deleted_at"] if '"deleted_at":"' in row.payload else None
    deleted_at = deleted_at or absent_at
    if row.deleted_at == deleted_at:
        return False
    row.deleted_at = deleted_at
    return True


def insert_customers(rows: Iterable[CustomerRow], *, using: str) -> None:
    """Insert customers, those of them that nobody else was the first to insert."""
    complete = [_project(row, synced_at=row.synced_at) for row in rows]
    Customer.all_objects.using(using).bulk_create(complete, ignore_conflicts=True)


def write_customers(
    rows: Iterable[CustomerRow], *, synced_at: datetime, using: str, scrubbed_at: datetime | None = None
) -> None:
    """Write changed customers in one statement, their columns projected anew."""
    complete = [_project(row, synced_at=synced_at, scrubbed_at=scrubbed_at) for row in rows]
    if complete:
        Customer.all_objects.using(using).bulk_create(
            complete, update_conflicts=True, unique_fields=["id"], update_fields=list(_COLUMNS)
        )


def _project(row: CustomerRow, **times: datetime | None) -> Customer:
    columns: dict[str, Any] = {**CUSTOMER.project(row.payload), **times, "deleted_at": row.deleted_at}
    columns |= {"payload": row.payload, "extra": row.extra, "state_extra": row.state_extra}
    return Customer(id=row.id, organization_id=row.organization_id, **columns)


class ConcurrentChangeError(Exception):
    """The rows that a batch stands on are not those that it began with; it is to be undone and begun anew.

    `absent` are customers of the batch without a row, to be inserted first; `holders` are customers outside it, to be
    locked with it, who hold a child that it tells of.
    """

    def __init__(self, reason: str, *, absent: Iterable[UUID] = (), holders: Iterable[UUID] = ()) -> None:
        super().__init__(reason)
        self.absent = frozenset(absent)
        self.holders = frozenset(holders)


def insert_missing(rows: Iterable[CustomerRow], *, using: str) -> None:
    """Insert unknown customers, so that first observations can be locked like any other.

    So is one that is only known not to exist: were it forgotten, an older word about it would bring it to life.
    """
    missing = sorted(rows, key=lambda row: row.id)
    if not missing:
        return
    insert_customers(missing, using=using)
    observations = [CustomerObservation(customer_id=row.id) for row in missing]
    CustomerObservation.objects.using(using).bulk_create(observations, ignore_conflicts=True)


def lock_observation_records(ids: Collection[UUID], *, using: str) -> dict[UUID, ObservationRecord]:
    """Lock the observation rows of these customers in id order, and read them."""
    rows = (
        CustomerObservation.objects.using(using)
        .select_for_update()
        .filter(pk__in=list(ids))
        .order_by("pk")
        .values_list("pk", *ObservationRecord._fields)
    )
    return {pk: ObservationRecord(*times) for pk, *times in rows}
