"""The storages that a request budget is shared through: this process's memory, or Redis."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage, storage_from_string

from polar_sync.exceptions import BudgetStorageError, ConfigurationError

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
        """See BudgetStorage."""
        now = time.monotonic()
        with self._lock:
            entries = self._forget(key, before=now - window)
            if len(entries) >= amount:
                return False
            entries.append(now)
            return True

    def get_window_wait(self, key: str, *, amount: int, window: int) -> float:
        """See BudgetStorage."""
        now = time.monotonic()
        with self._lock:
            entries = self._forget(key, before=now - window)
            return entries[-amount] + window - now if len(entries) >= amount else 0.0

    def extend_pause(self, key: str, *, seconds: float) -> None:
        """See BudgetStorage."""
        with self._lock:
            until = time.monotonic() + seconds
            self._paused_until[key] = max(self._paused_until.get(key, until), until)

    def get_pause(self, key: str) -> float:
        """See BudgetStorage."""
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
        """See BudgetStorage."""
        return self._ask(lambda: self.storage.acquire_entry(key, amount, window))

    def get_window_wait(self, key: str, *, amount: int, window: int) -> float:
        """See BudgetStorage."""
        oldest, count = self._ask(lambda: self.storage.get_moving_window(key, amount, window))
        return _compute_wait(oldest, count, amount=amount, window=window)

    def extend_pause(self, key: str, *, seconds: float) -> None:
        """See BudgetStorage."""
        milliseconds = int(seconds * 1000)
        if milliseconds > 0:
            # By Redis's own clock, so that machines whose clocks differ agree on the end.
            self._ask(lambda: self._extend_pause(keys=[self.storage.prefixed_key(key)], args=[milliseconds]))

    def get_pause(self, key: str) -> float:
        """See BudgetStorage."""
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
