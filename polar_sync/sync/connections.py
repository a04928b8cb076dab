"""One client and one pool of fetch threads for each organization of the settings, and which one on Polar it is."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from django.db import router, transaction

from polar_sync.client import ListPage, PolarClient, RequestBudget, Usage
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import ConfigurationError, OrganizationMismatchError
from polar_sync.models import Organization, on_primary
from polar_sync.payloads.values import read_uuid
from polar_sync.states import Catalogue, ConfirmingSource, PartialResults, PerCustomerSource, RowEstimates, StateSource

P = ParamSpec("P")
T = TypeVar("T")

_FAREWELL_SECONDS = 1.0
_MAX_PAGES = 5
_REQUESTS_PER_PAGE = 50
"""Of a minute's budget: with 500 a claim of five pages takes some five seconds, with Polar's sandbox one of two."""
_OLDEST_FIRST = ("created_at", "email", "name")
WORKER_PATIENCE = 5.0
"""Seconds that a Celery worker waits for the budget in place; beyond, the work goes back to the broker."""
_kept: dict[tuple[int, str], tuple[object, Connection]] = {}
_kept_lock = threading.Lock()


class FetchThreads(Executor):
    """As `ThreadPoolExecutor`, but a thread that hangs in an answer keeps neither Ctrl-C nor the process waiting."""

    def __init__(self, number: int, *, name: str) -> None:
        self._number, self._name = number, name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting: set[Future[Any]] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called on one of the threads."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the thread that waits for the future gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot ask for more after the connection was closed")
            self._waiting.add(future)
            if len(self._threads) < self._number:
                self._start_thread()
        future.add_done_callback(self._waiting.discard)
        self._work.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; waits for them for a moment at most."""
        with self._lock:
            self._is_shut_down = True
        for future in list(self._waiting) if cancel_futures else []:
            future.cancel()
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + (_FAREWELL_SECONDS if wait else 0.0)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # an idle thread should not keep the last answer alive


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
    estimates: RowEstimates = field(default_factory=RowEstimates)
    catalogue: Catalogue = field(default_factory=Catalogue)
    partial_results: PartialResults = field(default_factory=PartialResults)
    has_lists: bool = True
    """Whether the lists that states are put together from are open to the token, as far as is known."""
    _run_id: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _taken: Usage = field(default_factory=Usage)

    def keep_for(self, run_id: int) -> None:
        """Forget what was remembered for another run."""
        self.catalogue.keep_for(run_id)
        self.partial_results.keep_for(run_id)
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


def bind_organization(organization: Organization, customers: Sequence[Any], *, expected: str | None) -> None:
    """Check an answer against the organization before anything of it is written; learn Polar's id from the first.

    `expected` is the setting `ORGANIZATION_ID`. Raises `OrganizationMismatchError`, and `ConfigurationError` where the
    answer does not tell which organization it is of.
    """
    shown = {_get_organization_id(item) for item in customers} - {None}
    wanted = organization.polar_id or read_uuid(expected)
    if len(shown) > 1 or (wanted is not None and shown and shown != {wanted}):
        names = ", ".join(sorted(map(str, shown)))
        raise OrganizationMismatchError(
            f"The token of {organization.name!r} shows customers of the Polar organization {names}"
            + (f", not of {wanted}" if wanted else "")
            + ". Nothing was written. Check the token; if it may see several organizations, set ORGANIZATION_ID."
        )
    if organization.polar_id is not None:
        return
    learned = next(iter(shown), None) or wanted
    if learned is not None:
        _learn(organization, learned)
    elif customers:
        raise ConfigurationError(
            f"The customers of {organization.name!r} do not say which organization they belong to. Set ORGANIZATION_ID."
        )


def check_organization(
    organization: Organization, listing: ListPage, connection: Connection, *, is_empty_believed: bool = False
) -> None:
    """Before a `ResourceNotFound` is believed: check by a listing that the token shows this organization.

    Raises `OrganizationMismatchError`, also where it lists nobody, which shows nothing, unless that is believed.
    """
    bind_organization(organization, listing.items, expected=connection.organization_id)
    if not listing.items and not is_empty_believed:
        raise OrganizationMismatchError(
            f"The token of {organization.name!r} lists no customer, which does not show that it is still of the same "
            "Polar organization. Nobody was marked deleted. Check the token, or run with --allow-mass-deletion."
        )


def _get_organization_id(item: Any) -> Any:
    return read_uuid(item.get("organization_id")) if isinstance(item, dict) else None


def _learn(organization: Organization, polar_id: Any) -> None:
    with transaction.atomic(using=router.db_for_write(Organization)):
        holder = on_primary(Organization.objects).filter(polar_id=polar_id).exclude(pk=organization.pk).first()
        if holder is not None and holder.name in settings.organizations:
            raise OrganizationMismatchError(
                f"The tokens of {organization.name!r} and {holder.name!r} show the same Polar organization, {polar_id}."
                " Nothing was written. Mirror it under one name only."
            )
        if holder is not None:  # the name was changed in the settings; its customers come along
            Organization.objects.filter(pk=holder.pk).update(polar_id=None)
        Organization.objects.filter(pk=organization.pk).update(polar_id=polar_id)
        organization.polar_id = polar_id


def do_nothing() -> None:
    """What is called now and then while Polar is asked, where no lease is held that would have to be renewed."""
