"""The request budget of an organization, shared by every thread, process and machine that asks Polar for it.

Polar's limits: https://polar.sh/docs/api-reference/rate-limits.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage, storage_from_string

from polar_sync.exceptions import BudgetStorageError, BudgetWaitError, ClientClosedError, ConfigurationError

T = TypeVar("T")

KEY_PREFIX = "polar_sync"
# A Redis that hangs must become an error, not a hanging worker.
REDIS_TIMEOUT = 5.0
# Sets the key's time to live to ARGV[1] milliseconds unless it lives longer already.
EXTEND_PAUSE = b"""
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('set', KEYS[1], 1, 'px', ARGV[1])
end
"""
# Milliseconds that the key still lives, below 0 where there is none.
READ_PAUSE = b"return redis.call('pttl', KEYS[1])"

_storages: dict[str, BudgetStorage] = {}
_opening = threading.Lock()
REQUESTS_PER_MINUTE = 500
SANDBOX_REQUESTS_PER_MINUTE = 100
# A second more than Polar's minute: a window's first request, which opens the connection, arrives later after it was
# counted here than the one that follows the window, and one request too many costs everybody a minute.
WINDOW = 61
SHORTEST_SLEEP = 0.005
LONGEST_JITTER = 1.0


class BudgetStorage:
    """What a budget needs of a storage: entries of a moving window and a pause, both under a key.

    Storage errors become BudgetStorageError.
    """

    name: str

    def acquire_entry(self, key: str, *, amount: int, window: int) -> bool:
        """Enter one request, unless `amount` were entered in the last `window` seconds already."""
        raise NotImplementedError

    def get_window_wait(self, key: str, *, amount: int, window: int) -> float:
        """Return the seconds until the window has room for a request, 0 when it has."""
        raise NotImplementedError

    def extend_pause(self, key: str, *, seconds: float) -> None:
        """Pause the key for so long from now, unless it is paused for longer already."""
        raise NotImplementedError

    def get_pause(self, key: str) -> float:
        """Return the seconds that the pause has left, 0 for none."""
        raise NotImplementedError


class MemoryBudgetStorage(BudgetStorage):
    """Shared by the threads of this process.

    A window of its own, as the one of `limits` runs on the system's clock: set back an hour, it would block for one.
    """

    name = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: defaultdict[str, deque[float]] = defaultdict(deque)
        self._paused_until: dict[str, float] = {}

    def acquire_entry(self, key: str, *, amount: int, window: int) -> bool:
        now = time.monotonic()
        with self._lock:
            entries = self._forget(key, before=now - window)
            if len(entries) >= amount:
                return False
            entries.append(now)
            return True

    def get_window_wait(self, key: str, *, amount: int, window: int) -> float:
        now = time.monotonic()
        with self._lock:
            entries = self._forget(key, before=now - window)
            return entries[-amount] + window - now if len(entries) >= amount else 0.0

    def extend_pause(self, key: str, *, seconds: float) -> None:
        with self._lock:
            until = time.monotonic() + seconds
            self._paused_until[key] = max(self._paused_until.get(key, until), until)

    def get_pause(self, key: str) -> float:
        until = self._paused_until.get(key)
        return 0.0 if until is None else max(until - time.monotonic(), 0.0)

    def _forget(self, key: str, *, before: float) -> deque[float]:
        entries = self._entries[key]
        while entries and entries[0] <= before:
            entries.popleft()
        return entries


class RedisBudgetStorage(BudgetStorage):
    """Shared by every process and machine that uses this Redis; their clocks should agree to a second."""

    def __init__(self, storage: RedisStorage, *, name: str) -> None:
        self.name = name
        self.storage = storage
        known = storage.base_exceptions
        self._errors: tuple[type[Exception], ...] = (
            *(known if isinstance(known, tuple) else (known,)),
            StorageError,
            OSError,
        )
        self._read_pause = storage.get_connection().register_script(READ_PAUSE)
        self._extend_pause = storage.get_connection().register_script(EXTEND_PAUSE)

    def acquire_entry(self, key: str, *, amount: int, window: int) -> bool:
        return self._ask(lambda: self.storage.acquire_entry(key, amount, window))

    def get_window_wait(self, key: str, *, amount: int, window: int) -> float:
        oldest, count = self._ask(lambda: self.storage.get_moving_window(key, amount, window))
        return _compute_wait(oldest, count, amount=amount, window=window)

    def extend_pause(self, key: str, *, seconds: float) -> None:
        milliseconds = int(seconds * 1000)
        if milliseconds > 0:
            # By Redis's own clock, so that machines whose clocks differ agree on the end.
            self._ask(lambda: self._extend_pause(keys=[self.storage.prefixed_key(key)], args=[milliseconds]))

    def get_pause(self, key: str) -> float:
        milliseconds = self._ask(lambda: self._read_pause(keys=[self.storage.prefixed_key(key)]))
        return max(float(milliseconds), 0.0) / 1000

    def _ask(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except self._errors as error:
            reason = f"{type(error).__name__}: {error}"
        # Outside of the handler: the error of the client of Redis leads to its connection, and so to a password.
        raise BudgetStorageError(
            f"The request budget's storage ({self.name}) does not answer: {reason}. "
            "Nothing is sent to Polar without it; check THROTTLE_STORAGE and that the server runs."
        )


def open_storage(storage: str | Storage) -> BudgetStorage:
    """Return the storage of a URI of `limits`, the same one for the same URI in this process, or wrap one given.

    https://limits.readthedocs.io/en/stable/storage.html. Only memory and the Redis family (with Valkey, Sentinel and
    Cluster) can be paused; others and unusable URIs raise ConfigurationError, which does not show a password.
    """
    if not isinstance(storage, str):
        # Kept on the storage itself: two budgets with one storage must meet in one lock and one pause.
        wrapped: BudgetStorage = vars(storage).setdefault("_polar_sync", _wrap(storage, name=type(storage).__name__))
        return wrapped
    with _opening:
        if storage not in _storages:
            is_memory = storage == "memory://"
            _storages[storage] = MemoryBudgetStorage() if is_memory else _wrap(_open(storage), name=_describe(storage))
        return _storages[storage]


def _wrap(storage: object, *, name: str) -> BudgetStorage:
    if isinstance(storage, MemoryStorage):
        # Only says that the budget is this process's own, and with whom it is shared.
        return MemoryBudgetStorage()
    if isinstance(storage, RedisStorage):
        return RedisBudgetStorage(storage, name=name)
    raise ConfigurationError(f"A request budget is kept in memory:// or redis://…, not in {name}.")


def _open(uri: str) -> object:
    options = {} if uri.startswith("memory:") else _get_redis_options()
    try:
        return storage_from_string(uri, **options)
    except Exception as error:  # noqa: BLE001 - whatever a URI provokes; the errors quote it with its password
        reason = type(error).__name__
    raise ConfigurationError(
        f"The request budget's storage ({_describe(uri)}) cannot be opened ({reason}); give memory:// or "
        "redis://host:port/db, the latter with the package `redis` installed."
    )


def _get_redis_options() -> dict[str, float | str | bool]:
    return {
        "key_prefix": KEY_PREFIX,
        "socket_timeout": REDIS_TIMEOUT,
        "socket_connect_timeout": REDIS_TIMEOUT,
    }


def _describe(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an unreadable address"
    return f"{parts.scheme}://{parts.hostname or ''}"


def _compute_wait(oldest: float, count: int, *, amount: int, window: int) -> float:
    # Never longer than the window: our own clock may have been set back since the entry was made.
    return 0.0 if count < amount else min(max(oldest + window - time.time(), 0.0), float(window))


def _forget_storages() -> None:
    global _opening  # noqa: PLW0603 - the parent's lock may have been held when it forked
    _opening = threading.Lock()
    _storages.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_storages)


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
