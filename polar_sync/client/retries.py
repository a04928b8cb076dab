"""Which failures are tried again, when, and how often: the whole policy.

| what happened | reads | writes |
| --- | --- | --- |
| 429 | as long as the budget may wait, after `Retry-After` | the same: Polar did not carry it out |
| no connection, cut, timed out, 502, 503, 504 | up to `max_attempts` | never: it may have been carried out |
| any other 5xx | once: Polar gives a lasting 500 to absurd parameters | never |
| everything else | never | never |

Delays double from `FIRST_DELAY` to `LONGEST_DELAY`, with jitter, so that many clients that failed together do not
come back together. `Retry-After` (RFC 9110, 10.2.3) is obeyed, up to the day of `LONGEST_RETRY_AFTER`.
"""

from __future__ import annotations

import math
import random
from datetime import datetime

from polar_sync.client.clock import parse_http_date
from polar_sync.client.responses import PolarRequest
from polar_sync.exceptions import NetworkError, PolarError, RateLimitError, ServerError

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
LONGEST_RETRY_AFTER = 86_400.0
LONGEST_PAUSE = 60.0
PASSING_STATUSES = frozenset({502, 503, 504})


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, at most `LONGEST_RETRY_AFTER`; None for none.

    `now` is the present time of the clock that a date in the header was made by.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = parse_http_date(text)
        if date is None:
            return None
        seconds = (date - now).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def compute_delay(count: int) -> float:
    """Return the jittered delay in seconds after the `count`th failure, from 1."""
    # Bounded before the power is taken: 429s have no limit of attempts, and floats have one.
    longest = min(FIRST_DELAY * 2.0 ** min(count - 1, 30), LONGEST_DELAY)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing


class Attempts:
    """How often one call failed, and what follows from it.

    `max_wait` is how long the caller's budget may wait for one request, None for ever.
    """

    def __init__(self, request: PolarRequest, *, max_attempts: int, max_wait: float | None) -> None:
        self._call = request
        self._max_attempts = max_attempts
        self._max_wait = max_wait
        self._failed = 0
        self._refused = 0
        self._paused = 0.0

    def get_delay(self, error: PolarError, *, retry_after: float | None) -> float | None:
        """Count the failure and return the seconds to wait before the next attempt, None to give up."""
        if isinstance(error, RateLimitError):
            return self._get_pause(error.retry_in)
        self._failed += 1
        if not self._call.is_read or self._failed >= self._get_limit(error):
            return None
        delay = max(compute_delay(self._failed), retry_after or 0.0)
        is_too_long = self._max_wait is not None and (retry_after or 0.0) > self._max_wait
        return None if is_too_long else delay

    def _get_limit(self, error: PolarError) -> int:
        if isinstance(error, NetworkError) or error.status in PASSING_STATUSES:
            return self._max_attempts
        return min(2, self._max_attempts) if isinstance(error, ServerError) else 1

    def _get_pause(self, retry_in: float) -> float | None:
        self._refused += 1
        # A server that refuses again right after its own Retry-After does not keep it: ask it less and less.
        growing = min(2.0 ** min(self._refused - 2, 30), LONGEST_PAUSE) if self._refused > 1 else 0.0
        pause = max(retry_in, growing)
        self._paused += pause
        return None if self._max_wait is not None and self._paused > self._max_wait else pause
