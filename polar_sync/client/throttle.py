"""The request budget of an organization, shared by every thread, process and machine that asks Polar for it.

Polar's limits: https://polar.sh/docs/api-reference/rate-limits.
"""

from __future__ import annotations

import random
import threading
import time

from limits import RateLimitItemPerSecond
from limits.storage import Storage

from polar_sync.client.storages import BudgetStorage, open_storage
from polar_sync.exceptions import BudgetWaitError, ClientClosedError, ConfigurationError

REQUESTS_PER_MINUTE = 500
SANDBOX_REQUESTS_PER_MINUTE = 100
# A second more than Polar's minute: a window's first request, which opens the connection, arrives later after it was
# counted here than the one that follows the window, and one request too many costs everybody a minute.
WINDOW = 61
SHORTEST_SLEEP = 0.005
LONGEST_JITTER = 1.0


class RequestBudget:
    """Lets through at most `requests_per_minute` requests of an organization in any minute.

    Budgets with the same `organization`, `server`, number and `storage` are one budget; without the number they still
    share a pause. `storage` is "memory://" (this process), "redis://host:port/db" (all that use it) or a storage of
    `limits`. `max_wait` is the number of seconds that `acquire` may wait, None for as long as it takes.

    Wrong arguments raise ConfigurationError.
    """

    def __init__(
        self,
        *,
        organization: str,
        requests_per_minute: int,
        storage: str | Storage = "memory://",
        max_wait: float | None = None,
        server: str = "",
    ) -> None:
        self.organization = organization
        self.requests_per_minute = requests_per_minute
        self.max_wait = max_wait
        if not _is_amount(requests_per_minute):
            raise ConfigurationError(
                f"requests_per_minute is a whole number of at least 1, not {requests_per_minute!r}."
            )
        if max_wait is not None and not max_wait >= 0:
            raise ConfigurationError(f"max_wait is a number of seconds or None, not {max_wait!r}.")
        # Asked for at each use when it is a URI: a forked child must not use its parent's.
        self._storage: str | BudgetStorage = storage if isinstance(storage, str) else open_storage(storage)
        item = RateLimitItemPerSecond(requests_per_minute, WINDOW)
        self._window_key = item.key_for(organization, server)
        self._pause_key = f"PAUSE/{organization}/{server}"
        self._get_storage()

    def __repr__(self) -> str:
        return f"<RequestBudget: {self.organization}, {self.requests_per_minute} a minute>"

    def acquire(self, *, closed: threading.Event) -> float:
        """Wait until a request may be sent, count it, and return the seconds waited.

        BudgetWaitError, at once, where the wait would exceed `max_wait`; ClientClosedError when `closed` is set
        before there was room; BudgetStorageError where the storage does not answer.
        """
        started: float | None = None
        while True:
            wait = self._enter()
            waited = 0.0 if started is None else time.monotonic() - started
            if wait is None:
                return waited
            if self.max_wait is not None and waited + wait > self.max_wait:
                raise BudgetWaitError(
                    f"The request budget of {self.organization} ({self.requests_per_minute} a minute) has no room "
                    f"for {wait:.1f} s, and only {self.max_wait:.1f} s may be waited; try again then.",
                    retry_in=wait,
                )
            started = time.monotonic() if started is None else started
            if closed.wait(wait + _draw_jitter(wait)):
                raise ClientClosedError("The client was closed while it waited for the request budget.")

    def pause(self, seconds: float) -> None:
        """Let nobody of this organization send anything for so long; never shortens a longer pause."""
        self._get_storage().extend_pause(self._pause_key, seconds=seconds)

    def get_wait(self) -> float:
        """Return the seconds until a request may be sent, 0 when it may now. Counts nothing."""
        storage = self._get_storage()
        return max(storage.get_pause(self._pause_key), self._get_window_wait(storage))

    def _enter(self) -> float | None:
        storage = self._get_storage()
        if pause := storage.get_pause(self._pause_key):
            return max(pause, SHORTEST_SLEEP)
        if storage.acquire_entry(self._window_key, amount=self.requests_per_minute, window=WINDOW):
            return None
        return max(self._get_window_wait(storage), SHORTEST_SLEEP)

    def _get_window_wait(self, storage: BudgetStorage) -> float:
        return storage.get_window_wait(self._window_key, amount=self.requests_per_minute, window=WINDOW)

    def _get_storage(self) -> BudgetStorage:
        return open_storage(self._storage) if isinstance(self._storage, str) else self._storage


def _draw_jitter(wait: float) -> float:
    # All who wait know the same moment; without it they would all ask the storage, and then Polar, at once.
    return random.uniform(0.0, min(wait / 10, LONGEST_JITTER))  # noqa: S311 - spreads load, protects nothing


def _is_amount(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
