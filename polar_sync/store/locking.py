"""Which rows a batch stands on: looked up, inserted where missing, locked; always in the order of ids.

One order for everybody is what keeps two batches from waiting for each other. Whoever holds the lock of a customer may
change the rows of its children, and nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from polar_sync.models import Customer, CustomerObservation
from polar_sync.payloads import dump_canonical
from polar_sync.store.parents import TIMES, Sighting


class RowsMovedError(Exception):
    """Since they were looked up, others removed a customer of the batch or brought in a child that it tells of.

    All that was done for the batch is to be undone, and done anew.
    """


def read_known(ids: Iterable[UUID], *, using: str) -> set[UUID]:
    """Those of these customers who have rows already, without a lock."""
    rows = CustomerObservation.objects.using(using).filter(pk__in=list(ids))
    return set(rows.values_list("pk", flat=True))


def insert_missing(ids: Iterable[UUID], *, organization_id: UUID, using: str) -> None:
    """Insert unknown customers bare, so that first sightings can be locked like any other.

    So is one that is only known not to exist: were it forgotten, an older word about it would bring it to life.
    """
    missing = sorted(ids)
    if not missing:
        return
    rows = [
        Customer(id=key, organization_id=organization_id, payload=dump_canonical({"id": str(key)})) for key in missing
    ]
    Customer.all_objects.using(using).bulk_create(rows, ignore_conflicts=True)
    observations = [CustomerObservation(customer_id=key) for key in missing]
    CustomerObservation.objects.using(using).bulk_create(observations, ignore_conflicts=True)


def lock_sightings(ids: Collection[UUID], *, using: str) -> dict[UUID, Sighting]:
    """Lock the observation rows of these customers in id order, and read them."""
    rows = (
        CustomerObservation.objects.using(using)
        .select_for_update()
        .filter(pk__in=list(ids))
        .order_by("pk")
        .values_list("pk", *TIMES)
    )
    return {pk: Sighting(*times) for pk, *times in rows}
