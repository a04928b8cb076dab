"""What three lists hold of many customers: asked for in batches, and asked again where an answer is not whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage, PolarClient
from polar_sync.exceptions import PolarSyncError
from polar_sync.payloads.values import bound_time
from polar_sync.states.assembly import Parts, shrink
from polar_sync.states.batches import PAGE_SIZE, Batch, Density, ask, cut
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.source import TICK_SECONDS, is_hopeless

KINDS = ("subscriptions", "grants", "meters")
_SPLITS_PER_CUSTOMER = 0.5
"""Answers that were not whole, beyond which asking one by one is cheaper than dividing further."""
_STATUSES = ("active", "trialing", "past_due")

Sizes = Mapping[str, Mapping[UUID, int]]
"""How many rows customers had in each list when they were last mirrored, by kind; absent where they never were."""


class Densities:
    """What is known of the three lists' density, kept for as long as the client."""

    def __init__(self) -> None:
        self.by_kind = {kind: Density() for kind in KINDS}


class Inquiry:
    """The requests about some customers, on the way and done; what they brought is in `parts`."""

    def __init__(
        self,
        client: PolarClient,
        executor: Executor,
        *,
        parts: dict[UUID, Parts],
        densities: Densities,
        fields: StateFields,
        catalogue: Catalogue,
        sizes: Sizes,
    ) -> None:
        self.parts = parts
        self.errors: dict[UUID, PolarSyncError] = {}
        self.obstacle: PolarSyncError | None = None
        self._executor = executor
        self._densities = densities
        self._fields = fields
        self._catalogue = catalogue
        self._sizes = sizes
        self._splits = 0
        self._under_way: dict[Future[Batch], tuple[str, Sequence[UUID]]] = {}
        self._calls: dict[str, Callable[..., ListPage]] = {
            "subscriptions": partial(client.subscriptions.list, status=_STATUSES),
            "grants": partial(client.benefit_grants.list, is_granted=True),
            "meters": client.customer_meters.list,
        }

    @property
    def is_stopped(self) -> bool:
        """Whether nothing that is asked from here on could succeed."""
        return self.obstacle is not None

    def get_doubtful(self) -> set[UUID]:
        """Customers of whom the lists cannot tell."""
        return {key for key, parts in self.parts.items() if parts.is_doubtful}

    def get_complete(self) -> set[UUID]:
        """Customers of whom all three lists have told."""
        return {key for key, parts in self.parts.items() if len(parts.as_of) == len(KINDS) and not parts.is_doubtful}

    def run(self, on_tick: Callable[[], None]) -> None:
        """Ask until every list has told of every customer, or cannot."""
        for kind in KINDS:
            self._doubt([key for key, rows in self._sizes.get(kind, {}).items() if rows > PAGE_SIZE])
        for kind in KINDS:
            ids = sorted(key for key, parts in self.parts.items() if kind not in parts.as_of and not parts.is_doubtful)
            for some in self._densities.by_kind[kind].split(ids, sizes=self._sizes.get(kind, {})):
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
        density = self._densities.by_kind[kind]
        future = self._executor.submit(ask, self._calls[kind], ids, density=density)
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
        if self._splits > _SPLITS_PER_CUSTOMER * len(self.parts) or count * 2 > len(ids):
            self._doubt(ids)
        elif not self.is_stopped:
            for some in cut(ids, count):
                self._submit(kind, some)

    def _doubt(self, ids: Sequence[UUID]) -> None:
        for key in ids:
            if key in self.parts:
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
        self._catalogue.add(kind, chain.from_iterable(items.values()))
        for key, some in items.items():
            getattr(self.parts[key], kind).extend(shrink(kind, each, self._fields) for each in some)
            self.parts[key].as_of[kind] = bound_time(batch.as_of, some)
