"""The customers' own rows: compared, and written with their observation times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.models import Customer, CustomerObservation
from polar_sync.payloads import CUSTOMER, is_equal
from polar_sync.payloads.objects import CustomerPayload
from polar_sync.store.assembled import prefer_stored
from polar_sync.store.observations import Folded, is_due

_COLUMNS = (*CUSTOMER.columns, "payload", "extra", "state_extra", "synced_at", "scrubbed_at")
TIMES = ("observed_at", "extra_observed_at", "state_observed_at", "absent_at", "seen_by_run", "seen_in_pass")


@dataclass(frozen=True, slots=True)
class Sighting:
    """The observation times of one customer, and the run and pass that last saw it."""

    observed_at: datetime | None = None
    extra_observed_at: datetime | None = None
    state_observed_at: datetime | None = None
    absent_at: datetime | None = None
    seen_by_run: int | None = None
    seen_in_pass: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the customer was mirrored before, rather than just inserted bare."""
        return self.observed_at is not None


@dataclass(slots=True)
class CustomerWrite:
    """What is to be written of one customer, beside its children."""

    row: Customer
    before: str
    was_living: bool
    is_changed: bool = False


def merge_times(sighting: Sighting, item: Folded) -> Sighting:
    """The times after this observation: each part's the later of both."""
    merged = sighting
    if item.own_at is not None and is_due(item.own_at, sighting.observed_at):
        merged = replace(merged, observed_at=item.own_at)
        if sighting.absent_at is not None and item.own_at >= sighting.absent_at:
            merged = replace(merged, absent_at=None)
    if item.extra_at is not None and is_due(item.extra_at, sighting.extra_observed_at):
        merged = replace(merged, extra_observed_at=item.extra_at)
    if item.children_at is not None and is_due(item.children_at, sighting.state_observed_at):
        merged = replace(merged, state_observed_at=item.children_at)
    if (
        item.absent_at is not None
        and is_due(item.absent_at, merged.observed_at)
        and is_due(item.absent_at, merged.absent_at)
    ):
        merged = replace(merged, absent_at=item.absent_at)
    return merged


def read_customers(ids: Iterable[UUID], *, using: str) -> dict[UUID, Customer]:
    """The customers' rows, without the columns that only a change needs."""
    rows = Customer.all_objects.using(using).filter(pk__in=list(ids))
    columns = ("id", "organization_id", "payload", "extra", "state_extra", "deleted_at", "synced_at")
    return {row.pk: row for row in rows.only(*columns)}


def merge_customer(row: Customer, item: Folded, *, before: Sighting, after: Sighting) -> CustomerWrite:
    """Bring one row to what the observation says, part by part, and note whether that changed it."""
    write = CustomerWrite(row=row, before=row.payload, was_living=before.is_known and row.deleted_at is None)
    if item.own is not None and item.own_at is not None and is_due(item.own_at, before.observed_at):
        write.is_changed |= _set_own(row, item.own, is_known=before.is_known)
    if item.extra_at is not None and is_due(item.extra_at, before.extra_observed_at):
        write.is_changed |= _set_text(row, "extra", item.extra)
    if item.children_at is not None and is_due(item.children_at, before.state_observed_at):
        extra = prefer_stored(row.state_extra, item.children.extra, fields=item.children.unsure.get("customer"))
        write.is_changed |= _set_text(row, "state_extra", extra)
    write.is_changed |= _set_deleted(row, after.absent_at)
    return write


def _set_own(row: Customer, own: CustomerPayload, *, is_known: bool) -> bool:
    if is_known and is_equal(row.payload, own.payload, timestamps=CUSTOMER.timestamps):
        return False
    row.payload = own.payload
    return True


def _set_text(row: Customer, name: str, text: str) -> bool:
    """For further fields: JSON text of an object, or nothing."""
    stored = getattr(row, name)
    if stored == text or (stored and text and is_equal(stored, text, timestamps=())):
        return False
    setattr(row, name, text)
    return True


def _set_deleted(row: Customer, absent_at: datetime | None) -> bool:
    """Polar's own `deleted_at` where it gave one, else when it said that the customer is not there."""
    deleted_at = CUSTOMER.project(row.payload)["deleted_at"] if '"deleted_at":"' in row.payload else None
    deleted_at = deleted_at or absent_at
    if row.deleted_at == deleted_at:
        return False
    row.deleted_at = deleted_at
    return True


def write_customers(
    rows: Iterable[Customer], *, synced_at: datetime, using: str, scrubbed_at: datetime | None = None
) -> None:
    """Write changed customers in one statement, their columns projected anew."""
    complete = [_project(row, synced_at=synced_at, scrubbed_at=scrubbed_at) for row in rows]
    if complete:
        Customer.all_objects.using(using).bulk_create(
            complete, update_conflicts=True, unique_fields=["id"], update_fields=list(_COLUMNS)
        )


def _project(row: Customer, **times: datetime | None) -> Customer:
    columns: dict[str, Any] = {**CUSTOMER.project(row.payload), **times, "deleted_at": row.deleted_at}
    columns |= {"payload": row.payload, "extra": row.extra, "state_extra": row.state_extra}
    return Customer(id=row.pk, organization_id=row.organization_id, **columns)


def write_sightings(sightings: Mapping[UUID, Sighting], *, using: str) -> None:
    """Move the observation times, in one statement."""
    rows = [
        CustomerObservation(customer_id=key, **{name: getattr(sighting, name) for name in TIMES})
        for key, sighting in sightings.items()
    ]
    if rows:
        CustomerObservation.objects.using(using).bulk_create(
            rows, update_conflicts=True, unique_fields=["customer"], update_fields=list(TIMES)
        )
