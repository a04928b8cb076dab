"""Where the states of listed customers come from.

A source is given customers and yields, for each, its state or why there is none, in the order of arrival. Sources run
on threads of their own and never touch the ORM; the caller's thread hears a tick now and then, to renew its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from polar_sync.client import PolarClient, PolarObject
from polar_sync.exceptions import (
    AuthenticationError,
    BudgetError,
    ClientClosedError,
    MissingScopeError,
    PolarSyncError,
    RateLimitError,
)

T = TypeVar("T")

TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """What was found out about one customer: `state` or `error` is set."""

    id: UUID
    state: PolarObject | None = None
    error: PolarSyncError | None = None


class StateSource(Protocol):
    """Fetches the states of up to 100 customers.

    Stops early, leaving customers unanswered, where the request budget is used up or the token is refused: nothing
    that is asked after that could succeed. The answer that says so is still yielded.
    """

    def fetch(self, ids: Iterable[UUID], *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Yield an answer for each customer; `on_tick` is called at least once a second in between."""


@dataclass(frozen=True, slots=True)
class PerCustomerSource:
    """One request a customer: https://polar.sh/docs/api-reference/customers/state."""

    client: PolarClient
    executor: Executor
    concurrency: int

    def fetch(self, ids: Iterable[UUID], *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Ask for the states on threads, no more of them under way than `concurrency`."""
        waiting = iter(ids)
        under_way: set[Future[StateAnswer]] = set()
        is_stopped = False
        try:
            while True:
                while not is_stopped and len(under_way) < self.concurrency:
                    customer_id = next(waiting, None)
                    if customer_id is None:
                        break
                    under_way.add(self.executor.submit(self._fetch_one, customer_id))
                if not under_way:
                    return
                done, under_way = wait(under_way, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
                on_tick()
                for future in done:
                    answer = future.result()
                    is_stopped |= is_hopeless(answer.error)
                    yield answer
        finally:
            for future in under_way:
                future.cancel()

    def _fetch_one(self, customer_id: UUID) -> StateAnswer:
        try:
            return StateAnswer(customer_id, state=self.client.customers.get_state(str(customer_id)))
        except PolarSyncError as error:
            return StateAnswer(customer_id, error=error)


def wait_for(future: Future[T], *, on_tick: Callable[[], None]) -> T:
    """The result of work on another thread, with a tick now and then while it lasts."""
    while not wait((future,), timeout=TICK_SECONDS).done:
        on_tick()
    return future.result()


def is_hopeless(error: PolarSyncError | None) -> bool:
    """Whether asking for the next customer right after this error is bound to fail too."""
    return isinstance(error, BudgetError | RateLimitError | AuthenticationError | MissingScopeError | ClientClosedError)
