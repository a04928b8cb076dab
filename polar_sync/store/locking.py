"""Which rows a batch stands on: looked up, inserted where missing, locked; always in the order of ids.

One order for everybody is what keeps two batches from waiting for each other. Whoever holds the lock of a customer may
change the rows of its children, and nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from polar_sync.models import CustomerObservation
from polar_sync.store.parents import CustomerRow, insert_customers
from polar_sync.store.sightings import Sighting


class RowsMovedError(Exception):
    """The rows that a batch stands on are not those that it began with; it is to be undone and begun anew.

    `absent` are customers of the batch without a row, to be inserted first; `holders` are customers outside it, to be
    locked with it, who hold a child that it tells of.
    """

    def __init__(self, reason: str, *, absent: Iterable[UUID] = (), holders: Iterable[UUID] = ()) -> None:
        super().__init__(reason)
        self.absent = frozenset(absent)
        self.holders = frozenset(holders)


def insert_missing(rows: Iterable[CustomerRow], *, using: str) -> None:
    """Insert unknown customers, so that first sightings can be locked like any other.

    So is one that is only known not to exist: were it forgotten, an older word about it would bring it to life.
    """
    missing = sorted(rows, key=lambda row: row.id)
    if not missing:
        return
    insert_customers(missing, using=using)
    observations = [CustomerObservation(customer_id=row.id) for row in missing]
    CustomerObservation.objects.using(using).bulk_create(observations, ignore_conflicts=True)


def lock_sightings(ids: Collection[UUID], *, using: str) -> dict[UUID, Sighting]:
    """Lock the observation rows of these customers in id order, and read them."""
    rows = (
        CustomerObservation.objects.using(using)
        .select_for_update()
        .filter(pk__in=list(ids))
        .order_by("pk")
        .values_list("pk", *Sighting._fields)
    )
    return {pk: Sighting(*times) for pk, *times in rows}
