"""The states of 100 customers from a handful of requests, where the state endpoint takes a hundred."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import PolarClient, PolarObject
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, assemble, build_subscription, learn
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.inquiry import Densities, Inquiry, Sizes
from polar_sync.states.leftovers import Leftovers
from polar_sync.states.source import Listed, StateAnswer, StateSource, is_hopeless

MIN_CUSTOMERS = 4
"""Three lists are three requests: fewer customers are asked for one by one."""


@dataclass(slots=True)
class BatchedSource:
    """Subscriptions, benefit grants and customer meters by repeated `customer_id`, put together.

    What the lists cannot tell reliably is asked of the state endpoint: customers with more than a page of a kind, and
    a few of each run from which the fields of a state are learned. If these show a field that the lists lack,
    everybody is asked one by one, unless `is_exact` is off. What arrived of customers that get no answer is left in
    `leftovers` and not asked again.
    """

    client: PolarClient
    executor: Executor
    per_customer: StateSource
    densities: Densities
    is_exact: bool = True
    fields: StateFields = field(default_factory=StateFields)
    catalogue: Catalogue = field(default_factory=Catalogue)
    leftovers: Leftovers = field(default_factory=Leftovers)
    sizes: Sizes = field(default_factory=dict)

    def fetch(self, customers: Listed, *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Yield an answer for each customer; those without an item of the customers list are asked one by one."""
        listed = {key: item for key, item in customers.items() if item is not None}
        if len(listed) < MIN_CUSTOMERS:
            self.leftovers.take(listed)
            yield from self.per_customer.fetch(customers, on_tick=on_tick)
            return
        inquiry = Inquiry(
            self.client,
            self.executor,
            parts=self.leftovers.take(listed),
            densities=self.densities,
            fields=self.fields,
            catalogue=self.catalogue,
            sizes=self.sizes,
        )
        answered: set[UUID] = set()
        try:
            inquiry.run(on_tick)
            for answer in self._answer(inquiry, customers, listed, on_tick=on_tick):
                if answer.state is not None:
                    answered.add(answer.id)
                yield answer
        finally:
            self.leftovers.put({key: parts for key, parts in inquiry.parts.items() if key not in answered})

    def _answer(
        self,
        inquiry: Inquiry,
        customers: Listed,
        listed: Mapping[UUID, Mapping[str, Any]],
        *,
        on_tick: Callable[[], None],
    ) -> Iterator[StateAnswer]:
        samples = self._choose_samples(inquiry)
        doubtful = inquiry.get_doubtful()
        alone = dict.fromkeys([*samples, *(key for key in customers if key not in listed or key in doubtful)])
        unlearned = inquiry.obstacle if samples else None
        if not inquiry.is_stopped:
            for answer in self.per_customer.fetch(alone, on_tick=on_tick):
                if answer.state is not None and answer.id in inquiry.parts:
                    self._learn(answer, listed[answer.id], inquiry.parts[answer.id])
                elif samples and self._is_in_the_way(answer, samples):
                    unlearned = answer.error
                yield answer
        rest = {key: item for key, item in listed.items() if key not in alone or inquiry.is_stopped}
        if unlearned is not None:  # to assemble them now could drop fields that Polar has added since the contract
            yield from (StateAnswer(key, error=unlearned) for key in rest)
        elif self.is_exact and self.fields.state_only and not inquiry.is_stopped:
            yield from self.per_customer.fetch(rest, on_tick=on_tick)
        else:
            yield from self._assemble(inquiry, rest)

    def _choose_samples(self, inquiry: Inquiry) -> list[UUID]:
        """The customers, as few as will do, that have between them all that no state has shown yet."""
        chosen: list[UUID] = []
        unknown = {known.CUSTOMER, *known.CONTRACT} - self.fields.learned.keys()
        complete = inquiry.get_complete() if unknown else ()
        while unknown:
            having = {key: unknown & _get_kinds(inquiry.parts[key]) for key in complete}
            best = max(having, key=lambda key: len(having[key]), default=None)
            if best is None or not having[best]:
                break
            chosen.append(best)
            unknown -= having[best]
        return chosen

    def _is_in_the_way(self, answer: StateAnswer, samples: Sequence[UUID]) -> bool:
        """Whether the samples may show at another time what they could not show now."""
        is_permanent = answer.error is None or answer.error.permanent
        return is_hopeless(answer.error) or (answer.id in samples and not is_permanent)

    def _learn(self, answer: StateAnswer, item: Mapping[str, Any], parts: Parts) -> None:
        state = answer.state
        if state is not None and all(isinstance(state.get(name), list) for name in known.ARRAYS):
            learn(self.fields, state, item, parts)

    def _assemble(self, inquiry: Inquiry, listed: Mapping[UUID, Mapping[str, Any]]) -> Iterator[StateAnswer]:
        complete = inquiry.get_complete()
        for key in listed:
            if key not in complete:
                yield StateAnswer(key, error=inquiry.errors.get(key) or inquiry.obstacle)
                continue
            parts = inquiry.parts[key]
            state = PolarObject(assemble(listed[key], parts, self.fields), as_of=_get_time(parts))
            beside = tuple(build_subscription(each, self.fields) for each in parts.beside)
            yield StateAnswer(key, state=state, beside=beside, unsure=self.fields.get_unsure())


def _get_kinds(parts: Parts) -> set[str]:
    kinds = {known.CUSTOMER}
    if parts.present:
        kinds.add(known.SUBSCRIPTION)
    if any(each.get("meters") for each in parts.present):
        kinds.add(known.SUBSCRIPTION_METER)
    if parts.grants:
        kinds.add(known.GRANT)
    if parts.meters:
        kinds.add(known.METER)
    return kinds


def _get_time(parts: Parts) -> datetime:
    """All three parts were true at the earliest of their times, or later."""
    return min(parts.as_of.values())
