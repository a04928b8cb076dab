"""Where the states of listed customers come from: the interface.

A source is given customers and yields, for each, its state or why there is none, in the order of arrival. Sources run
on threads of their own and never touch the ORM; the caller's thread hears a tick now and then, to renew its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID

from polar_sync.client import PolarObject
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

Listed = Mapping[UUID, Mapping[str, Any] | None]
"""Customers to get the states of, each with its item of the customers list, None where it was not listed."""


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """What was found out about one customer: `state` or `error`, or neither where the lists cannot tell.

    `unreliable_fields` is None for Polar's own answer. For a state put together from lists it names the fields, by kind
    of object, of which a stored value is better, and `gone` are stored meters of which Polar, asked for them by name,
    no longer tells. `outside_state` are subscriptions that are in no state, such as past due ones.
    """

    id: UUID
    state: PolarObject | None = None
    error: PolarSyncError | None = None
    unreliable_fields: Mapping[str, frozenset[str]] | None = None
    outside_state: tuple[dict[str, Any], ...] = field(default=())
    gone: frozenset[UUID] = frozenset()


class StateSource(Protocol):
    """Fetches the states of some hundred customers.

    Stops early, leaving customers unanswered, where the request budget is used up or the token is refused: nothing
    that is asked after that could succeed. The answer that says so is still yielded.
    """

    def fetch(self, customers: Listed, *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Yield an answer for each customer; `on_tick` is called at least once a second in between."""


def wait_for(future: Future[T], *, on_tick: Callable[[], None]) -> T:
    """The result of work on another thread, with a tick now and then while it lasts."""
    while not wait((future,), timeout=TICK_SECONDS).done:
        on_tick()
    return future.result()


def stops_fetching(error: PolarSyncError | None) -> bool:
    """Whether asking for the next customer right after this error is bound to fail too."""
    return isinstance(error, BudgetError | RateLimitError | AuthenticationError | MissingScopeError | ClientClosedError)
