"""The states of 100 customers from a handful of requests, where the state endpoint takes a hundred.

What arrived for pages that had to be given back is kept: with a small request budget no single claim of a page may be
let through often enough for all that a batch takes. If each began anew, none would ever get to the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage, PolarClient, PolarObject
from polar_sync.exceptions import NotFoundError, PolarSyncError
from polar_sync.payloads import SUBSCRIPTION
from polar_sync.states.assembly import CustomerParts, assemble, build_object
from polar_sync.states.batch_fetcher import BatchFetcher, Mirrored, RowEstimates
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.reader import ListReader
from polar_sync.states.rules import Knowledge, read_rules
from polar_sync.states.samples import Sampling
from polar_sync.states.source import Listed, StateAnswer, StateSource

MAX_CUSTOMERS = 1_000
MAX_AGE_SECONDS = 3600.0
"""Polar itself answers with states that it cached up to an hour ago."""
MAX_LISTINGS = 10
MAX_LISTING_AGE_SECONDS = 600.0
MIN_CUSTOMERS = 4
"""Three lists are three requests: fewer customers are asked for one by one."""
_Items = Mapping[UUID, Mapping[str, Any]]


class PartialResults:
    """Kept for one run at a time, as long as the client; whoever takes parts is the only one to have them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run_id: int | None = None
        self._parts: dict[UUID, CustomerParts] = {}
        self._listings: dict[int, tuple[float, ListPage]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def keep_for(self, run_id: int) -> PartialResults:
        """Forget what is of another run: its customers are to be asked again. Returns itself."""
        with self._lock:
            if run_id != self._run_id:
                self._run_id, self._parts, self._listings = run_id, {}, {}
        return self

    def take(self, ids: Iterable[UUID]) -> dict[UUID, CustomerParts]:
        """The parts of these customers, new ones where none are kept or they are too old."""
        oldest = time.monotonic() - MAX_AGE_SECONDS
        with self._lock:
            kept = {key: self._parts.pop(key, None) for key in ids}
        return {key: CustomerParts() if parts is None or parts.began < oldest else parts for key, parts in kept.items()}

    def put(self, parts: Mapping[UUID, CustomerParts]) -> None:
        """Keep these; beyond `MAX_CUSTOMERS` those that were kept first are forgotten."""
        with self._lock:
            self._parts |= parts
            for key in list(self._parts)[: max(0, len(self._parts) - MAX_CUSTOMERS)]:
                del self._parts[key]

    def put_listing(self, page_id: int, answer: ListPage) -> None:
        """Keep what Polar listed for a page; beyond `MAX_LISTINGS` what was kept first is forgotten."""
        with self._lock:
            self._listings[page_id] = (time.monotonic(), answer)
            for key in list(self._listings)[: max(0, len(self._listings) - MAX_LISTINGS)]:
                del self._listings[key]

    def take_listing(self, page_id: int) -> ListPage | None:
        """What was kept for a page, unless it is too old."""
        with self._lock:
            kept_at, answer = self._listings.pop(page_id, (0.0, None))
        return answer if time.monotonic() - kept_at < MAX_LISTING_AGE_SECONDS else None


@dataclass(slots=True)
class BatchedSource:
    """Subscriptions, benefit grants and customer meters by repeated `customer_id`, put together.

    What the lists cannot tell reliably is asked of the state endpoint: customers with more than a page of a kind, and
    a few samples of each run, by which everything is confirmed that an assembled state consists of. If one contradicts
    the lists, or shows a field that they lack (unless `is_exact` is off), everybody is asked one by one. What arrived
    of customers that get no answer is left in `partial_results` and not asked again.
    """

    client: PolarClient
    executor: Executor
    per_customer: StateSource
    estimates: RowEstimates
    organization_id: str | None = None
    is_exact: bool = True
    knowledge: Knowledge = field(default_factory=Knowledge)
    catalogue: Catalogue = field(default_factory=Catalogue)
    partial_results: PartialResults = field(default_factory=PartialResults)
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
            self.partial_results.take(items)
            yield from self.per_customer.fetch(customers, on_tick=on_tick)
            return
        stopping_error = self._read_rules(on_tick)
        if stopping_error is not None:
            yield from (StateAnswer(key, error=stopping_error) for key in customers)
            return
        fetcher = self._open_reader().make_fetcher(self.partial_results.take(items))
        answered: set[UUID] = set()
        try:
            fetcher.run(on_tick)
            for answer in self._answer(fetcher, customers, items, on_tick=on_tick):
                if answer.state is not None:
                    answered.add(answer.id)
                yield answer
        finally:
            self.partial_results.put({key: parts for key, parts in fetcher.parts.items() if key not in answered})

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
            self.client, self.executor, self.estimates, self.knowledge, catalogue=self.catalogue, mirrored=self.mirrored
        )

    def _answer(
        self, fetcher: BatchFetcher, customers: Listed, items: _Items, *, on_tick: Callable[[], None]
    ) -> Iterator[StateAnswer]:
        """Samples decide what becomes of the others."""
        complete = {key: fetcher.parts[key] for key in sorted(fetcher.get_complete())}
        sampling = Sampling(self._open_reader(), self.per_customer, items=items, parts=complete)
        if not fetcher.is_stopped:
            sampling.run(on_tick)
        stopping_error = fetcher.stopping_error or sampling.stopping_error
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
            elif stopping_error is not None:
                yield StateAnswer(key, error=fetcher.errors.get(key) or stopping_error)
            elif key in fetcher.errors and not fetcher.parts[key].is_doubtful:
                yield StateAnswer(key, error=fetcher.errors[key])
            else:
                alone[key] = item
        for answer in self.per_customer.fetch(alone, on_tick=on_tick):
            yield self._put_beside(answer, complete)

    def _put_beside(self, answer: StateAnswer, complete: Mapping[UUID, CustomerParts]) -> StateAnswer:
        """Polar's own answer with what the lists hold besides, so that it comes and goes with neither of the two."""
        if answer.state is None or answer.id not in complete or self.refutation:
            return answer
        return replace(answer, outside_state=self._build_outside_state(complete[answer.id]))

    def _assemble(self, key: UUID, item: Mapping[str, Any], parts: CustomerParts) -> StateAnswer:
        state = PolarObject(assemble(item, parts, self.knowledge.fields), interval=parts.interval)
        unreliable_fields = self.knowledge.fields.get_unreliable_fields()
        return StateAnswer(
            key,
            state=state,
            outside_state=self._build_outside_state(parts),
            unreliable_fields=unreliable_fields,
            gone=parts.gone,
        )

    def _build_outside_state(self, parts: CustomerParts) -> tuple[dict[str, Any], ...]:
        return tuple(build_object(SUBSCRIPTION, each, self.knowledge.fields) for each in parts.outside_state)
