"""Polar's clock, as its answers show it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def parse_http_date(text: str | None) -> datetime | None:
    """Return an HTTP date (RFC 9110, 5.6.7) as an aware datetime in UTC, None where it is missing or unreadable."""
    if not text:
        return None
    try:
        value = parsedate_to_datetime(text)
        # The parser leaves "-0000" naive: a UTC time from an unknown place.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class Stopwatch:
    """Runs from its making; reads our own clock and a monotonic one, which no adjustment can turn back."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self._started = time.monotonic()

    def get_elapsed(self) -> timedelta:
        """Return how long it has been running."""
        return timedelta(seconds=time.monotonic() - self._started)


class ServerClock:
    """Tells as of when an answer is true, on Polar's clock, so that two sources compare though our clock is wrong."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def now(self) -> datetime:
        """Return the present time on Polar's clock, as far as it is known."""
        return _shift(datetime.now(UTC), by=self._offset)

    def read(self, headers: Mapping[str, str], *, stopwatch: Stopwatch) -> datetime:
        """Return a lower bound of when the data of an answer was read, in UTC; learns the offset of our own clock.

        That is its `Date` less the time the request took; without a readable `Date` the start of the request on our
        own clock, corrected by the last known offset. Call it as soon as the headers are there.
        """
        elapsed = stopwatch.get_elapsed()
        date = parse_http_date(headers.get("Date"))
        if date is None:
            return _shift(stopwatch.started_at, by=self._offset)
        self._offset = date - (stopwatch.started_at + elapsed)
        return _shift(date, by=-elapsed)


def _shift(moment: datetime, *, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
