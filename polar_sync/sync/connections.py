"""One client and one pool of fetch threads for each organization of the settings, kept for the life of the process."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from polar_sync.client import ListPage, PolarClient, RequestBudget, Usage
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.states import Catalogue, ConfirmingSource, Densities, Leftovers, PerCustomerSource, StateSource
from polar_sync.sync.threads import FetchThreads

_MAX_PAGES = 5
_REQUESTS_PER_PAGE = 50
"""Of a minute's budget: with 500 a claim of five pages takes some five seconds, with Polar's sandbox one of two."""
_OLDEST_FIRST = ("created_at", "email", "name")
WORKER_PATIENCE = 5.0
"""Seconds that a Celery worker waits for the budget in place; beyond, the work goes back to the broker."""


@dataclass(slots=True)
class Connection:
    """A client with its threads, and what it has used since that was last asked.

    `max_pages` of the list are claimed at a time: the more customers are asked for together, the fewer requests it
    takes, and the longer what others could do is held.
    """

    client: PolarClient
    executor: Executor
    per_customer: StateSource
    confirming: StateSource
    organization_id: str | None
    max_pages: int = 1
    densities: Densities = field(default_factory=Densities)
    catalogue: Catalogue = field(default_factory=Catalogue)
    leftovers: Leftovers = field(default_factory=Leftovers)
    has_lists: bool = True
    """Whether the lists that states are put together from are open to the token, as far as is known."""
    _run_id: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _taken: Usage = field(default_factory=Usage)

    def keep_for(self, run_id: int) -> None:
        """Forget what was remembered for another run."""
        self.catalogue.keep_for(run_id)
        self.leftovers.keep_for(run_id)
        if run_id != self._run_id:
            self._run_id, self.has_lists = run_id, True  # the token may have been given what it lacked

    def list_customers(self, *, page: int, limit: int) -> ListPage:
        """One page of the organization's customers, oldest first; emails break ties, which Polar itself does not."""
        wanted = self.organization_id
        return self.client.customers.list(page=page, limit=limit, sorting=_OLDEST_FIRST, organization_id=wanted)

    def take_usage(self) -> Usage:
        """What was used since the last call; each request is handed out once, whoever asks."""
        with self._lock:
            usage, taken = self.client.usage, self._taken
            self._taken = usage
        return Usage(
            requests=usage.requests - taken.requests,
            throttled_seconds=usage.throttled_seconds - taken.throttled_seconds,
            operations=Counter(usage.operations) - Counter(taken.operations),
        )

    def close(self) -> None:
        """Wake and end the threads, close the sockets."""
        self.client.close()
        self.executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(organization: OrganizationSettings, *, max_wait: float | None = None) -> Connection:
    """A new connection as the settings say; the caller closes it. `max_wait` is in seconds, None waits for ever."""
    budget = RequestBudget(
        organization=organization.shares_budget_of or organization.name,
        server=organization.server,
        requests_per_minute=organization.requests_per_minute,
        storage=settings.throttle_storage,
        max_wait=max_wait,
    )
    client = PolarClient(
        access_token=organization.access_token,
        server=organization.server,
        budget=budget,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )
    concurrency = settings.concurrency
    executor = FetchThreads(concurrency, name="polar_sync")
    return Connection(
        client=client,
        executor=executor,
        per_customer=PerCustomerSource(client, executor, concurrency),
        confirming=ConfirmingSource(client, executor, concurrency),
        organization_id=str(organization.organization_id) if organization.organization_id else None,
        max_pages=max(1, min(_MAX_PAGES, organization.requests_per_minute // _REQUESTS_PER_PAGE)),
    )


_kept: dict[tuple[int, str], tuple[object, Connection]] = {}
_kept_lock = threading.Lock()


def get_worker_connection(organization: OrganizationSettings) -> Connection:
    """The connection that this process keeps for an organization, renewed when its settings change.

    Never one that was made before a fork: its threads are not there, and its sockets are another's.
    """
    key = (os.getpid(), organization.name)
    wanted = (
        organization,
        settings.throttle_storage,
        settings.concurrency,
        settings.connect_timeout,
        settings.read_timeout,
    )
    with _kept_lock:
        held = _kept.get(key)
        if held is not None and held[0] == wanted:
            return held[1]
        if held is not None:
            held[1].close()
        connection = connect(organization, max_wait=WORKER_PATIENCE)
        _kept[key] = (wanted, connection)
        return connection


def close_worker_connections() -> None:
    """Close what this process keeps."""
    with _kept_lock:
        for key in [key for key in _kept if key[0] == os.getpid()]:
            _kept.pop(key)[1].close()
