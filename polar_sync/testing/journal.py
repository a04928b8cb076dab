"""What was asked of the fake server, and how much of it in the last minute."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from polar_sync.testing.wire import Request, refuse_rate

WINDOW = timedelta(minutes=1)


class AskedRequest(NamedTuple):
    """One request that was answered; `path` is without the query. A cut connection has the status 0."""

    method: str
    path: str
    status: int


class RequestRecord(AskedRequest):
    """An `AskedRequest` (it compares and unpacks as one) that also knows its query, operation and time."""

    query: str
    operation: str | None
    at: datetime

    @classmethod
    def make(cls, request: Request, *, status: int, operation: str | None, at: datetime) -> Self:
        """Note a request down; `at` is when it arrived, by `FakePolar.clock`."""
        record = cls(request.method, request.path, status)
        record.query, record.operation, record.at = request.query_string, operation, at
        return record


class RequestWindow:
    """The times of the requests of the last minute; not locked by itself."""

    def __init__(self) -> None:
        self._times: deque[datetime] = deque()
        self.refused = 0

    def count(self, *, limit: int | None, now: datetime) -> None:
        """Count one request; over `limit` requests in a moving minute raises the 429 that Polar answers."""
        if limit is None:
            return
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        if len(self._times) < limit:
            self._times.append(now)
            return
        self.refused += 1
        oldest = self._times[0] if self._times else now
        raise refuse_rate(max(1, math.ceil((oldest + WINDOW - now).total_seconds())))
