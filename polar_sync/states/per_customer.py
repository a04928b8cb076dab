"""One request a customer: https://polar.sh/docs/api-reference/customers/state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from uuid import UUID

from polar_sync.client import PolarClient
from polar_sync.exceptions import DeniedStateError, NotFoundError, PolarSyncError
from polar_sync.states.source import TICK_SECONDS, Listed, StateAnswer, stops_fetching


@dataclass(frozen=True, slots=True)
class PerCustomerSource:
    """The state endpoint."""

    client: PolarClient
    executor: Executor
    concurrency: int

    def fetch(self, customers: Listed, *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Ask for the states on threads, no more of them under way than `concurrency`."""
        waiting = iter(customers)
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
                    is_stopped |= stops_fetching(answer.error)
                    yield answer
        finally:
            for future in under_way:
                future.cancel()

    def _fetch_one(self, customer_id: UUID) -> StateAnswer:
        try:
            return StateAnswer(customer_id, state=self.client.customers.get_state(str(customer_id)))
        except PolarSyncError as error:
            return StateAnswer(customer_id, error=error)


@dataclass(frozen=True, slots=True)
class ConfirmingSource(PerCustomerSource):
    """A `NotFoundError` of this source is Polar's answer to https://polar.sh/docs/api-reference/customers/get."""

    def _fetch_one(self, customer_id: UUID) -> StateAnswer:
        try:
            self.client.customers.get(str(customer_id))
        except PolarSyncError as error:
            return StateAnswer(customer_id, error=error)
        answer = PerCustomerSource._fetch_one(self, customer_id)  # noqa: SLF001 - slots leave no `super()`
        if not isinstance(answer.error, NotFoundError):
            return answer
        # One that was deleted in between is not there either when this is tried again.
        denied = DeniedStateError(f"Polar has this customer, but of its state it says: {answer.error}")
        return StateAnswer(customer_id, error=denied)
