"""Which of two readings of the same thing holds, and what is noted of when each customer was read.

No single moment is known at which Polar read what it answered, only an interval. Where two of them share a moment
nothing says which reading is the later, and whoever compares them has to ask again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.db import router

from polar_sync.models import CustomerObservation
from polar_sync.payloads import Interval, load_canonical
from polar_sync.payloads.values import iterate_changes, read_timestamp

CLOCK_TOLERANCE = timedelta(minutes=1)
"""A modification this much later than the answer that tells of it is hostile or broken, and guards nothing."""

END_TOLERANCE = timedelta(seconds=3)
"""By so much the end of a later request's interval can lie before that of an earlier one: clocks are learned."""


class Source(IntEnum):
    """Where a reading came from; of two that may be of one moment the higher holds.

    The state endpoint answers from a cache of its own, lists and the customer itself do not, and only the answer to a
    write is never that of a replica.
    """

    STATE = 1
    READ = 2
    WRITTEN = 3


class Order(Enum):
    """How a new reading lies to the stored one."""

    LATER = "later"
    EARLIER = "earlier"
    OVERLAPPING = "overlapping"


@dataclass(frozen=True, slots=True)
class Reading:
    """When something was read at Polar, and from where."""

    interval: Interval
    source: Source

    def compare(self, stored: Reading | None) -> Order:
        """How this reading lies to one that is stored."""
        if stored is None or self.interval.is_after(stored.interval):
            return Order.LATER
        return Order.EARLIER if stored.interval.is_after(self.interval) else Order.OVERLAPPING

    def is_preferred(self, other: Reading | None) -> bool:
        """Whether this one holds against another that was given before it, when there is nobody to ask."""
        order = self.compare(other)
        if other is None or order is not Order.OVERLAPPING:
            return order is Order.LATER
        return self.source > other.source or (self.source == other.source and self.is_later_request(other))

    def is_later_request(self, other: Reading) -> bool:
        """Whether nothing speaks against its request being the later one, as it was given after the other."""
        return self.interval.end + END_TOLERANCE >= other.interval.end


def get_later(one: Reading, other: Reading) -> Reading:
    """Of two readings that found the same, the one that says so of the later time."""
    first, second = one.interval, other.interval
    return one if (first.start, first.end) >= (second.start, second.end) else other


def supersedes(
    new: Reading,
    stored: Reading | None,
    *,
    version: datetime | None,
    stored_version: datetime | None,
    order: Order | None = None,
) -> bool:
    """Whether a reading of an object replaces the stored one, of which it differs.

    Versions decide where both are known: an object is never replaced by an older version of itself. At equal ones the
    later reading holds, and of two that may be of one moment the better source. `order` is that of the two readings
    where it is known better than by their times.
    """
    if stored is None:
        return True
    if version is not None and stored_version is not None and version != stored_version:
        return version > stored_version
    order = order or new.compare(stored)
    return new.is_preferred(stored) if order is Order.OVERLAPPING else order is Order.LATER


def get_version(payload: str, reading: Reading | None) -> datetime | None:
    """The `modified_at` of an object's JSON text, `created_at` where it was never modified.

    None where it has neither or they are later than the object was read.
    """
    data = load_canonical(payload)
    return trust_version(read_timestamp(data.get("modified_at")) or read_timestamp(data.get("created_at")), reading)


def trust_version(version: datetime | None, reading: Reading | None) -> datetime | None:
    """The version, or None where it lies beyond the time of the reading."""
    if version is None or reading is None:
        return version
    return version if version <= reading.interval.widen(after=CLOCK_TOLERANCE).end else None


def bound_start(interval: Interval, objects: Iterable[Any]) -> Interval:
    """What shows a change was read after it: the interval without the time before the newest change in it."""
    latest = interval.widen(after=CLOCK_TOLERANCE).end
    # Nearly all changes are older by far. Their texts begin with the year, so that comparing these is enough.
    since = interval.widen(before=timedelta(days=1)).start.date().isoformat()
    changes = (time for each in objects for time in iterate_changes(each, since=since) if time <= latest)
    newest = max(changes, default=interval.start)
    return Interval(max(interval.start, min(newest, interval.end)), interval.end)


def prove_older(reading: Reading, bounds: Iterable[datetime]) -> Reading:
    """A reading that shows an older version of something was read before the newer one came to be."""
    bound = min(bounds, default=reading.interval.end)
    if bound >= reading.interval.end:
        return reading
    return Reading(Interval(min(reading.interval.start, bound), bound), reading.source)


class ObservationRecord(NamedTuple):
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

    def with_own(self, reading: Reading | None) -> ObservationRecord:
        """The same with another reading of the customer's own fields."""
        at, until, source = _split(reading)
        return self._replace(observed_at=at, observed_until=until, observed_from=source)

    def with_state(self, reading: Reading | None) -> ObservationRecord:
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


def get_records(ids: Iterable[UUID]) -> dict[UUID, ObservationRecord]:
    """What is noted now of these customers: what an answer to a request that is sent after this follows."""
    using = router.db_for_write(CustomerObservation)
    rows = CustomerObservation.objects.using(using).filter(pk__in=list(ids))
    return {pk: ObservationRecord(*times) for pk, *times in rows.values_list("pk", *ObservationRecord._fields)}


def write_observation_records(records: Mapping[UUID, ObservationRecord], *, using: str) -> None:
    """Move the observation times, in one statement."""
    rows = [CustomerObservation(customer_id=key, **record._asdict()) for key, record in records.items()]
    if rows:
        CustomerObservation.objects.using(using).bulk_create(
            rows, update_conflicts=True, unique_fields=["customer"], update_fields=list(ObservationRecord._fields)
        )
