"""What is noted of when each customer was read: the columns of its `CustomerObservation`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import router

from polar_sync.models import CustomerObservation
from polar_sync.payloads import Interval
from polar_sync.store.ordering import Reading, Source


class Sighting(NamedTuple):
    """When each part of one customer was read, and the run and pass that last saw it."""

    observed_at: datetime | None = None
    observed_until: datetime | None = None
    observed_from: int | None = None
    extra_observed_at: datetime | None = None
    state_observed_at: datetime | None = None
    state_observed_until: datetime | None = None
    state_observed_from: int | None = None
    absent_at: datetime | None = None
    answered_at: datetime | None = None
    seen_by_run: int | None = None
    seen_in_pass: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the customer was mirrored before, rather than just inserted or only known not to exist."""
        return self.observed_at is not None

    @property
    def own(self) -> Reading | None:
        """The reading of the customer's own fields."""
        return _get_reading(self.observed_at, self.observed_until, self.observed_from)

    @property
    def state(self) -> Reading | None:
        """The reading of the customer's children."""
        return _get_reading(self.state_observed_at, self.state_observed_until, self.state_observed_from)

    def with_own(self, reading: Reading | None) -> Sighting:
        """The same with another reading of the customer's own fields."""
        at, until, source = _split(reading)
        return self._replace(observed_at=at, observed_until=until, observed_from=source)

    def with_state(self, reading: Reading | None) -> Sighting:
        """The same with another reading of the customer's children."""
        at, until, source = _split(reading)
        return self._replace(state_observed_at=at, state_observed_until=until, state_observed_from=source)


def _get_reading(start: datetime | None, end: datetime | None, source: int | None) -> Reading | None:
    if start is None:
        return None
    # Rows of before there was an end: what told of them then was taken for exact.
    return Reading(Interval(start, end or start), Source(source or Source.READ))


def _split(reading: Reading | None) -> tuple[datetime | None, datetime | None, int | None]:
    if reading is None:
        return None, None, None
    return reading.interval.start, reading.interval.end, int(reading.source)


def read_sightings(ids: Iterable[UUID]) -> dict[UUID, Sighting]:
    """What is noted now of these customers: what an answer to a request that is sent after this follows."""
    using = router.db_for_write(CustomerObservation)
    rows = CustomerObservation.objects.using(using).filter(pk__in=list(ids))
    return {pk: Sighting(*times) for pk, *times in rows.values_list("pk", *Sighting._fields)}


def write_sightings(sightings: Mapping[UUID, Sighting], *, using: str) -> None:
    """Move the observation times, in one statement."""
    rows = [CustomerObservation(customer_id=key, **sighting._asdict()) for key, sighting in sightings.items()]
    if rows:
        CustomerObservation.objects.using(using).bulk_create(
            rows, update_conflicts=True, unique_fields=["customer"], update_fields=list(Sighting._fields)
        )
