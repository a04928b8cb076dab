"""Which of two readings of the same thing holds: by the thing's own version, and by when each was read.

No single moment is known at which Polar read what it answered, only an interval. Where two of them share a moment
nothing says which reading is the later, and whoever compares them has to ask again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any

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
