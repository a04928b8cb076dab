"""Polar's clock, as its answers show it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_RESOLUTION = timedelta(seconds=1)


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


# Our own clock runs on from here by the monotonic one: an adjustment of the system's clock must not turn it back.
_ANCHOR = (datetime.now(UTC), time.monotonic())


def get_own_time() -> datetime:
    """Return the present time on our own clock, which never goes back while this process lives."""
    return _ANCHOR[0] + timedelta(seconds=time.monotonic() - _ANCHOR[1])


class Stopwatch:
    """Runs from its making; `started_at` is on our own clock."""

    def __init__(self) -> None:
        self.started_at = get_own_time()

    def get_elapsed(self) -> timedelta:
        """Return how long it has been running."""
        return get_own_time() - self.started_at


class ServerClock:
    """Tells as of when an answer is true, on Polar's clock, so that two sources compare though our clock is wrong.

    `Date` has whole seconds, so one answer gives the offset between the two clocks to a second only; each further one
    narrows it down. Of two requests one after the other, the later is so never taken for the earlier.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset: timedelta | None = None

    def now(self) -> datetime:
        """Return the present time on Polar's clock, as far as it is known."""
        return _shift(get_own_time(), by=self._offset or timedelta())

    def read(self, headers: Mapping[str, str], *, stopwatch: Stopwatch) -> datetime:
        """Return a lower bound of when the data of an answer was read, in UTC; learns the offset of our own clock.

        That is its `Date` less the time the request took, or later where earlier answers have shown the offset more
        exactly; without a readable `Date` the start of the request, corrected by the offset. Call it as soon as the
        headers are there.
        """
        elapsed = stopwatch.get_elapsed()
        date = parse_http_date(headers.get("Date"))
        if date is not None:
            self._learn(date, sent=stopwatch.started_at, received=stopwatch.started_at + elapsed)
        return _shift(stopwatch.started_at, by=self._offset or timedelta())

    def _learn(self, date: datetime, *, sent: datetime, received: datetime) -> None:
        """Keep the greatest lower bound of the offset, unless this answer shows that a clock has been set."""
        lowest, highest = date - received, date - sent + _RESOLUTION
        with self._lock:
            if self._offset is None or lowest > self._offset or highest < self._offset:
                self._offset = lowest


_clocks: dict[str, ServerClock] = {}


def get_server_clock(server: str) -> ServerClock:
    """Return the clock of a server, one for all clients of this process."""
    return _clocks.setdefault(server, ServerClock())


def _shift(moment: datetime, *, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
