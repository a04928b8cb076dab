"""The customers' own rows: compared, and written with their observation times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from polar_sync.models import Customer, CustomerObservation
from polar_sync.payloads import CUSTOMER, dump_canonical, is_equal
from polar_sync.payloads.objects import CustomerPayload
from polar_sync.store.assembled import prefer_stored
from polar_sync.store.observations import Folded, is_due

_COLUMNS = (*CUSTOMER.columns, "payload", "extra", "state_extra", "synced_at", "scrubbed_at")


class Sighting(NamedTuple):
    """The observation times of one customer, and the run and pass that last saw it: the columns of its observation."""

    observed_at: datetime | None = None
    extra_observed_at: datetime | None = None
    state_observed_at: datetime | None = None
    absent_at: datetime | None = None
    seen_by_run: int | None = None
    seen_in_pass: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the customer was mirrored before, rather than just inserted or only known not to exist."""
        return self.observed_at is not None


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
    """What is to be written of one customer, beside its children."""

    row: CustomerRow
    before: str
    was_living: bool
    is_changed: bool = False


def merge_times(sighting: Sighting, item: Folded) -> Sighting:
    """The times after this observation: each part's the later of both."""
    observed_at, absent_at = sighting.observed_at, sighting.absent_at
    if item.own_at is not None and is_due(item.own_at, observed_at):
        observed_at = item.own_at
        if absent_at is not None and observed_at >= absent_at:
            absent_at = None
    if item.absent_at is not None and is_due(item.absent_at, observed_at) and is_due(item.absent_at, absent_at):
        absent_at = item.absent_at
    return sighting._replace(
        observed_at=observed_at,
        extra_observed_at=_get_later(item.extra_at, sighting.extra_observed_at),
        state_observed_at=_get_later(item.children_at, sighting.state_observed_at),
        absent_at=absent_at,
    )


def _get_later(as_of: datetime | None, stored: datetime | None) -> datetime | None:
    return as_of if as_of is not None and is_due(as_of, stored) else stored


def read_customers(ids: Iterable[UUID], *, using: str) -> dict[UUID, CustomerRow]:
    """What is mirrored of these customers."""
    rows = Customer.all_objects.using(using).filter(pk__in=list(ids))
    columns = ("id", "organization_id", "payload", "extra", "state_extra", "deleted_at", "synced_at")
    return {row[0]: CustomerRow(*row) for row in rows.values_list(*columns)}


def build_customer(key: UUID, item: Folded, *, organization_id: UUID, synced_at: datetime) -> CustomerRow:
    """The row of a customer who has none yet: bare where nothing of their own was said."""
    payload = item.own.payload if item.own is not None else dump_canonical({"id": str(key)})
    return CustomerRow(key, organization_id, payload, item.extra, item.children.extra, None, synced_at)


def merge_customer(row: CustomerRow, item: Folded, *, before: Sighting, after: Sighting) -> CustomerWrite:
    """Bring one row to what the observation says, part by part, and note whether that changed it."""
    write = CustomerWrite(row=row, before=row.payload, was_living=before.is_known and row.deleted_at is None)
    if item.own is not None and item.own_at is not None and is_due(item.own_at, before.observed_at):
        write.is_changed |= _set_own(row, item.own)
    if item.extra_at is not None and is_due(item.extra_at, before.extra_observed_at):
        write.is_changed |= _set_text(row, "extra", item.extra)
    if item.children_at is not None and is_due(item.children_at, before.state_observed_at):
        extra = prefer_stored(row.state_extra, item.children.extra, fields=item.children.unsure.get("customer"))
        write.is_changed |= _set_text(row, "state_extra", extra)
    write.is_changed |= _set_deleted(row, after.absent_at)
    return write


def _set_own(row: CustomerRow, own: CustomerPayload) -> bool:
    if is_equal(row.payload, own.payload, timestamps=CUSTOMER.timestamps):
        return False
    row.payload = own.payload
    return True


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


def write_sightings(sightings: Mapping[UUID, Sighting], *, using: str) -> None:
    """Move the observation times, in one statement."""
    rows = [CustomerObservation(customer_id=key, **sighting._asdict()) for key, sighting in sightings.items()]
    if rows:
        CustomerObservation.objects.using(using).bulk_create(
            rows, update_conflicts=True, unique_fields=["customer"], update_fields=list(Sighting._fields)
        )
