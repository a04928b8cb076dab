"""When an answer was true: between two moments on Polar's clock, as no single one can be known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

STATE_AGE = timedelta(minutes=61)
"""How far a state of Polar's may reach back from its answer: an hour, and a minute for the job that renews it."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Interval:
    """The data was read at some moment from `start` to `end`, both aware, in UTC and on Polar's clock."""

    start: datetime
    end: datetime

    @classmethod
    def at(cls, moment: datetime) -> Self:
        """The interval of one moment that is known exactly."""
        return cls(moment, moment)

    def is_after(self, other: Interval) -> bool:
        """Whether every moment of this interval is later than every moment of the other."""
        return self.start > other.end

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that covers both."""
        return Interval(min(self.start, other.start), max(self.end, other.end))

    def widen(self, *, before: timedelta = timedelta(), after: timedelta = timedelta()) -> Interval:
        """This interval with `before` added to its beginning and `after` to its end."""
        try:
            start = self.start - before
        except OverflowError:
            start = _EARLIEST
        try:
            end = self.end + after
        except OverflowError:
            end = _LATEST
        return Interval(start, end)
