"""Polar's clock, as its answers show it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from polar_sync.payloads.interval import Interval

CONFIRMING_ANSWERS = 5
CONFIRMING_TIME = timedelta(seconds=10)
NARROWING_ANSWERS = 3
FORGETTING_ANSWERS = 20
FORGETTING_TIME = timedelta(minutes=10)
MOST_OFFSETS = 16
# By which our own clock may be wrong before anything is confirmed. What was read at once beyond that, and so perhaps in
# the future, would be held to be later than whatever is read in the meantime.
LARGEST_ERROR = timedelta(minutes=5)
_RESOLUTION = timedelta(seconds=1)
_clocks: dict[str, ServerClock] = {}


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


def _read_ticks() -> float:
    """Seconds that nobody can set; where the system counts them, those it slept too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


# Our own clock runs on from here by itself: an adjustment of the system's clock must not turn it.
_ANCHOR = (datetime.now(UTC), _read_ticks())


def get_own_time() -> datetime:
    """Return the present time on our own clock, which never goes back while this process lives."""
    return _ANCHOR[0] + timedelta(seconds=_read_ticks() - _ANCHOR[1])


class Stopwatch:
    """Runs from its making; `started_at` is on our own clock."""

    def __init__(self) -> None:
        self.started_at = get_own_time()

    def get_elapsed(self) -> timedelta:
        """Return how long it has been running."""
        return get_own_time() - self.started_at


class _Offset:
    """What answers that agree say of the offset between the clocks: it lies between `low` and `high`.

    Each bound is the tightest that `NARROWING_ANSWERS` have shown, so that a single one does not move it.
    """

    def __init__(self, low: timedelta, high: timedelta, *, at: datetime, number: int) -> None:
        self._lows = [low]
        self._highs = [high]
        self._first_at = self._last_at = at
        self.last_number = number
        self.count = 1

    @property
    def low(self) -> timedelta:
        return self._lows[0]

    @property
    def high(self) -> timedelta:
        return self._highs[-1]

    @property
    def is_confirmed(self) -> bool:
        return self.count >= CONFIRMING_ANSWERS and self._last_at - self._first_at >= CONFIRMING_TIME

    @property
    def is_plausible(self) -> bool:
        """Whether it can be that our own clock is that wrong."""
        return self.low >= -LARGEST_ERROR and self.high <= LARGEST_ERROR

    def agrees(self, other: _Offset) -> bool:
        return self.low <= other.high and other.low <= self.high

    def renew(self, latest: _Offset) -> None:
        """Note that an answer agrees, though it may agree with others too."""
        self._last_at, self.last_number = max(self._last_at, latest._last_at), latest.last_number

    def narrow(self, latest: _Offset) -> None:
        """Count an answer that agrees with nothing else."""
        self.count += 1
        lows = sorted([*self._lows, latest.low])[-NARROWING_ANSWERS:]
        highs = sorted([*self._highs, latest.high])[:NARROWING_ANSWERS]
        if lows[0] <= highs[-1]:  # else they are of several offsets that are nearly the same
            self._lows, self._highs = lows, highs

    def is_forgotten(self, latest: _Offset) -> bool:
        """Whether nothing has agreed for so long that nothing will: many other answers came, over a long time."""
        is_old = latest._last_at - self._last_at > FORGETTING_TIME
        return is_old and latest.last_number - self.last_number > FORGETTING_ANSWERS


class ServerClock:
    """Tells when an answer was true, on Polar's clock, so that two sources compare though our clock is wrong.

    `Date` has whole seconds, so one answer gives the offset between the two clocks to a second only; each further one
    that agrees narrows it down, but never to less than a second either way: machines that differ by less look like one.
    An offset is believed once `CONFIRMING_ANSWERS` over `CONFIRMING_TIME` agree on it, so
    that no single wrong `Date` moves the clock. Where several are confirmed, as of a server whose machines differ, all
    are covered; one that no answer has confirmed for long is forgotten.

    Before any is confirmed, our own clock and those that answers have shown are all covered, up to `LARGEST_ERROR`; all
    that far where they have shown nothing but times beyond that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offsets: list[_Offset] = []
        self._count = 0

    def now(self) -> datetime:
        """Return the present time on Polar's clock, as far as it is known."""
        return _shift(get_own_time(), by=self._get_bounds(self._find_best())[0])

    def read(self, headers: Mapping[str, str], *, stopwatch: Stopwatch) -> Interval:
        """Return when the data of an answer was read; learns the offset of our own clock.

        That is between the sending of the request and the coming of the headers, widened by what is not known of the
        offset; without any readable `Date` so far, our own clock counts. Call it as soon as the headers are there.
        """
        sent, received = stopwatch.started_at, stopwatch.started_at + stopwatch.get_elapsed()
        date = parse_http_date(headers.get("Date"))
        with self._lock:
            self._count += 1
            shown = None if date is None else self._learn(date, sent=sent, received=received)
            lowest, highest = self._get_bounds(shown or self._find_best())
        return Interval(_shift(sent, by=lowest), _shift(received, by=highest))

    def _learn(self, date: datetime, *, sent: datetime, received: datetime) -> _Offset:
        """Note what an answer says of the offset, and return the known one that it agrees with, or a new one."""
        latest = _Offset(date - received, date - sent + _RESOLUTION, at=received, number=self._count)
        self._forget(latest)
        agreeing = [each for each in self._offsets if each.agrees(latest)]
        for each in agreeing:
            each.renew(latest)
        if len(agreeing) == 1:
            agreeing[0].narrow(latest)
            return agreeing[0]
        if not agreeing:
            self._offsets.append(latest)
        return latest

    def _forget(self, latest: _Offset) -> None:
        kept = [each for each in self._offsets if not each.is_forgotten(latest)]
        if not any(each.is_confirmed for each in kept):
            kept += sorted((each for each in self._offsets if each.is_confirmed), key=lambda one: one.last_number)[-1:]
        # The confirmed come first, as guesses are what a hostile server could make many of.
        self._offsets = sorted(kept, key=lambda one: (one.is_confirmed, one.last_number))[-MOST_OFFSETS:]

    def _find_best(self) -> _Offset | None:
        return max(self._offsets, key=lambda each: each.count, default=None)

    def _get_bounds(self, shown: _Offset | None) -> tuple[timedelta, timedelta]:
        known = [each for each in self._offsets if each.is_confirmed]
        if known:
            return min(each.low for each in known) - _RESOLUTION, max(each.high for each in known) + _RESOLUTION
        guesses = [each for each in self._offsets if each.is_plausible]
        if shown is not None and not guesses:
            return -LARGEST_ERROR, LARGEST_ERROR
        own = timedelta()
        lowest = min([own, *(each.low - _RESOLUTION for each in guesses)])
        return lowest, max([own, *(each.high + _RESOLUTION for each in guesses)])


def get_server_clock(server: str) -> ServerClock:
    """Return the clock of a server, one for all clients of this process."""
    return _clocks.setdefault(server, ServerClock())


def _shift(moment: datetime, *, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
