"""The states of 100 customers from a handful of requests, where the state endpoint takes a hundred."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage, PolarClient, PolarObject
from polar_sync.exceptions import PolarSyncError
from polar_sync.payloads.values import bound_time, read_timestamp
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, assemble, build_subscription, learn
from polar_sync.states.batches import Batch, Density, ask, cut
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.leftovers import Leftovers
from polar_sync.states.source import TICK_SECONDS, Listed, StateAnswer, StateSource, is_hopeless

MIN_CUSTOMERS = 4
"""Three lists are three requests: fewer customers are asked for one by one."""
_MAX_SPLITS = 50
"""Answers of one page that are not whole, after which asking one by one is cheaper than dividing further."""
_STATUSES = ("active", "trialing", "past_due")
_KINDS = ("subscriptions", "grants", "meters")


class Densities:
    """What is known of the three lists' density, kept for as long as the client."""

    def __init__(self) -> None:
        self.by_kind = {kind: Density() for kind in _KINDS}


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

    def fetch(self, customers: Listed, *, on_tick: Callable[[], None]) -> Iterator[StateAnswer]:
        """Yield an answer for each customer; those without an item of the customers list are asked one by one."""
        listed = {key: item for key, item in customers.items() if item is not None}
        if len(listed) < MIN_CUSTOMERS:
            self.leftovers.take(listed)
            yield from self.per_customer.fetch(customers, on_tick=on_tick)
            return
        work = _Work(self, listed)
        answered: set[UUID] = set()
        try:
            work.run(on_tick)
            for answer in self._answer(work, customers, listed, on_tick=on_tick):
                if answer.state is not None:
                    answered.add(answer.id)
                yield answer
        finally:
            self.leftovers.put({key: parts for key, parts in work.parts.items() if key not in answered})

    def _answer(
        self, work: _Work, customers: Listed, listed: Mapping[UUID, Mapping[str, Any]], *, on_tick: Callable[[], None]
    ) -> Iterator[StateAnswer]:
        samples = self._choose_samples(work)
        alone: dict[UUID, None] = dict.fromkeys(samples)
        alone |= {key: None for key in customers if key not in listed or key in work.alone}
        unlearned = work.obstacle if samples else None
        if not work.is_stopped:
            for answer in self.per_customer.fetch(alone, on_tick=on_tick):
                if answer.state is not None and answer.id in work.parts:
                    self._learn(answer, listed[answer.id], work.parts[answer.id])
                elif samples and self._is_in_the_way(answer, samples):
                    unlearned = answer.error
                yield answer
        rest = {key: item for key, item in listed.items() if key not in alone or work.is_stopped}
        if unlearned is not None:  # to assemble them now could drop fields that Polar has added since the contract
            yield from (StateAnswer(key, error=unlearned) for key in rest)
        elif self.is_exact and self.fields.state_only and not work.is_stopped:
            yield from self.per_customer.fetch(rest, on_tick=on_tick)
        else:
            yield from self._assemble(work, rest)

    def _choose_samples(self, work: _Work) -> list[UUID]:
        """The customers, as few as will do, that have between them all that no state has shown yet."""
        chosen: list[UUID] = []
        unknown = {known.CUSTOMER, *known.CONTRACT} - self.fields.learned.keys()
        complete = work.get_complete() if unknown else ()
        while unknown:
            having = {key: unknown & _get_kinds(work.parts[key]) for key in complete}
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

    def _assemble(self, work: _Work, listed: Mapping[UUID, Mapping[str, Any]]) -> Iterator[StateAnswer]:
        complete = work.get_complete()
        for key in listed:
            if key not in complete:
                yield StateAnswer(key, error=work.errors.get(key) or work.obstacle)
                continue
            state = PolarObject(assemble(listed[key], work.parts[key], self.fields), as_of=_get_time(work.parts[key]))
            beside = tuple(build_subscription(each, self.fields) for each in work.parts[key].beside)
            yield StateAnswer(key, state=state, beside=beside, unsure=self.fields.get_unsure())


class _Work:
    """The requests of one page, on the way and done."""

    def __init__(self, source: BatchedSource, listed: Mapping[UUID, Any]) -> None:
        self.parts = source.leftovers.take(listed)
        self.errors: dict[UUID, PolarSyncError] = {}
        self.obstacle: PolarSyncError | None = None
        self._source = source
        self._splits = 0
        self._under_way: dict[Future[Batch], tuple[str, Sequence[UUID]]] = {}
        self._calls: dict[str, Callable[..., ListPage]] = {
            "subscriptions": partial(source.client.subscriptions.list, status=_STATUSES),
            "grants": partial(source.client.benefit_grants.list, is_granted=True),
            "meters": source.client.customer_meters.list,
        }

    @property
    def is_stopped(self) -> bool:
        """Whether nothing that is asked from here on could succeed."""
        return self.obstacle is not None

    @property
    def alone(self) -> set[UUID]:
        """Customers of whom the lists cannot tell."""
        return {key for key, parts in self.parts.items() if parts.is_doubtful}

    def get_complete(self) -> set[UUID]:
        """Customers of whom all three lists have told."""
        return {key for key, parts in self.parts.items() if len(parts.as_of) == len(_KINDS) and not parts.is_doubtful}

    def run(self, on_tick: Callable[[], None]) -> None:
        """Ask until every list has told of every customer, or cannot."""
        for kind in _KINDS:
            ids = sorted(key for key, parts in self.parts.items() if kind not in parts.as_of and not parts.is_doubtful)
            for some in self._source.densities.by_kind[kind].split(ids) if ids else ():
                self._submit(kind, some)
        try:
            while self._under_way:
                done, _ = wait(self._under_way, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
                on_tick()
                for future in done:
                    self._take(future, *self._under_way.pop(future))
        finally:
            for future in self._under_way:
                future.cancel()

    def _submit(self, kind: str, ids: Sequence[UUID]) -> None:
        density = self._source.densities.by_kind[kind]
        future = self._source.executor.submit(ask, self._calls[kind], ids, density=density)
        self._under_way[future] = (kind, ids)

    def _take(self, future: Future[Batch], kind: str, ids: Sequence[UUID]) -> None:
        if future.cancelled():
            return
        try:
            batch = future.result()
        except PolarSyncError as error:
            self._note_error(error, ids)
            return
        if batch.items is not None:
            self._keep(kind, batch, batch.items)
        else:
            self._split(kind, batch)

    def _split(self, kind: str, batch: Batch) -> None:
        """Ask again about fewer customers, unless asking for their states costs no more."""
        self._splits += 1
        ids = [key for key in batch.ids if not self.parts[key].is_doubtful]
        count = batch.count_parts()
        if self._splits > _MAX_SPLITS or count * 2 > len(ids):
            self._doubt(ids)
        elif not self.is_stopped:
            for some in cut(ids, count):
                self._submit(kind, some)

    def _doubt(self, ids: Sequence[UUID]) -> None:
        for key in ids:
            self.parts[key].is_doubtful = True

    def _note_error(self, error: PolarSyncError, ids: Sequence[UUID]) -> None:
        if is_hopeless(error):
            self.obstacle = self.obstacle or error
            for future in self._under_way:
                future.cancel()
        elif error.permanent:  # says something about the request for a list, and nothing about any customer in it
            self._doubt(ids)
        else:
            self.errors.update(dict.fromkeys(ids, error))

    def _keep(self, kind: str, batch: Batch, items: Mapping[UUID, list[dict[str, Any]]]) -> None:
        for key, some in items.items():
            getattr(self.parts[key], kind).extend(some)
            self.parts[key].as_of[kind] = _get_part_time(batch.as_of, some)
            self._source.catalogue.add(kind, some)


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


def _get_part_time(as_of: datetime, items: Sequence[Mapping[str, Any]]) -> datetime:
    """The later of the answer's time and the newest change in it, as for a single answer."""
    times = [read_timestamp(item.get(name)) for item in items for name in ("created_at", "modified_at")]
    return bound_time(as_of, max((time for time in times if time is not None), default=None))


def _get_time(parts: Parts) -> datetime:
    """All three parts were true at the earliest of their times, or later."""
    return min(parts.as_of.values())
