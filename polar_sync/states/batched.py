"""The states of 100 customers from a handful of requests, where the state endpoint takes a hundred."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from polar_sync.client import PolarClient, PolarObject
from polar_sync.exceptions import NotFoundError, PolarSyncError
from polar_sync.states.assembly import Parts, assemble, build_subscription
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.inquiry import Densities, Inquiry, Mirrored
from polar_sync.states.knowledge import Knowledge
from polar_sync.states.leftovers import Leftovers
from polar_sync.states.reader import ListReader
from polar_sync.states.rules import read_rules
from polar_sync.states.sampling import Sampling
from polar_sync.states.source import Listed, StateAnswer, StateSource

MIN_CUSTOMERS = 4
"""Three lists are three requests: fewer customers are asked for one by one."""
_Items = Mapping[UUID, Mapping[str, Any]]


@dataclass(slots=True)
class BatchedSource:
    """Subscriptions, benefit grants and customer meters by repeated `customer_id`, put together.

    What the lists cannot tell reliably is asked of the state endpoint: customers with more than a page of a kind, and
    a few samples of each run, by which everything is confirmed that an assembled state consists of. If one contradicts
    the lists, or shows a field that they lack (unless `is_exact` is off), everybody is asked one by one. What arrived
    of customers that get no answer is left in `leftovers` and not asked again.
    """

    client: PolarClient
    executor: Executor
    per_customer: StateSource
    densities: Densities
    organization_id: str | None = None
    is_exact: bool = True
    knowledge: Knowledge = field(default_factory=Knowledge)
    catalogue: Catalogue = field(default_factory=Catalogue)
    leftovers: Leftovers = field(default_factory=Leftovers)
    mirrored: Mirrored = field(default_factory=Mirrored)
    mirrored_archived: Callable[[], Collection[str]] = tuple

    @property
    def refutation(self) -> str:
        """Why states cannot be put together from lists; empty where they can."""
        if self.knowledge.refutation or not self.is_exact or not self.knowledge.fields.state_only:
            return self.knowledge.refutation
        names = sorted({name for names in self.knowledge.fields.state_only.values() for name in names})
        return f"States have fields that the lists lack ({', '.join(names)})."

    def fetch(self, customers: Listed, *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Yield an answer for each customer; those without an item of the customers list are asked one by one."""
        items = {key: item for key, item in customers.items() if item is not None}
        if len(items) < MIN_CUSTOMERS or self.refutation:
            self.leftovers.take(items)
            yield from self.per_customer.fetch(customers, on_tick=on_tick)
            return
        obstacle = self._read_rules(on_tick)
        if obstacle is not None:
            yield from (StateAnswer(key, error=obstacle) for key in customers)
            return
        inquiry = self._open_reader().inquire(self.leftovers.take(items))
        answered: set[UUID] = set()
        try:
            inquiry.run(on_tick)
            for answer in self._answer(inquiry, customers, items, on_tick=on_tick):
                if answer.state is not None:
                    answered.add(answer.id)
                yield answer
        finally:
            self.leftovers.put({key: parts for key, parts in inquiry.parts.items() if key not in answered})

    def _read_rules(self, on_tick: Callable[[], None]) -> PolarSyncError | None:
        return read_rules(
            self.knowledge,
            self.client,
            self.executor,
            organization_id=self.organization_id,
            mirrored_archived=self.mirrored_archived,
            on_tick=on_tick,
        )

    def _open_reader(self) -> ListReader:
        return ListReader(
            self.client, self.executor, self.densities, self.knowledge, catalogue=self.catalogue, mirrored=self.mirrored
        )

    def _answer(
        self, inquiry: Inquiry, customers: Listed, items: _Items, *, on_tick: Callable[[], None]
    ) -> Iterator[StateAnswer]:
        """Samples decide what becomes of the others."""
        complete = {key: inquiry.parts[key] for key in sorted(inquiry.get_complete())}
        sampling = Sampling(self._open_reader(), self.per_customer, items=items, parts=complete)
        if not inquiry.is_stopped:
            sampling.run(on_tick)
        obstacle = inquiry.obstacle or sampling.obstacle
        unconfirmed = complete.keys() if self.refutation else sampling.find_open().keys()
        alone: dict[UUID, Mapping[str, Any] | None] = {}
        for key, item in customers.items():
            sampled = sampling.answers.get(key)
            if sampled is not None and isinstance(sampled.error, NotFoundError):
                yield sampled
            elif key in complete and key not in unconfirmed:  # of a sample too: lists are never out of date, states are
                yield self._assemble(key, items[key], complete[key])
            elif sampled is not None:
                yield self._put_beside(sampled, complete)
            elif obstacle is not None:
                yield StateAnswer(key, error=inquiry.errors.get(key) or obstacle)
            elif key in inquiry.errors and not inquiry.parts[key].is_doubtful:
                yield StateAnswer(key, error=inquiry.errors[key])
            else:
                alone[key] = item
        for answer in self.per_customer.fetch(alone, on_tick=on_tick):
            yield self._put_beside(answer, complete)

    def _put_beside(self, answer: StateAnswer, complete: Mapping[UUID, Parts]) -> StateAnswer:
        """Polar's own answer with what the lists hold besides, so that it comes and goes with neither of the two."""
        if answer.state is None or answer.id not in complete or self.refutation:
            return answer
        return replace(answer, beside=self._build_beside(complete[answer.id]))

    def _assemble(self, key: UUID, item: Mapping[str, Any], parts: Parts) -> StateAnswer:
        state = PolarObject(assemble(item, parts, self.knowledge.fields), interval=parts.interval)
        unsure = self.knowledge.fields.get_unsure()
        return StateAnswer(key, state=state, beside=self._build_beside(parts), unsure=unsure, gone=parts.gone)

    def _build_beside(self, parts: Parts) -> tuple[dict[str, Any], ...]:
        return tuple(build_subscription(each, self.knowledge.fields) for each in parts.beside)
