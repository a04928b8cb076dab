"""What lists hold of many customers: asked for in batches, and asked again where an answer is not whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

from polar_sync.client import PolarClient
from polar_sync.exceptions import PolarSyncError
from polar_sync.states.assembly import Parts, get_ids, shrink
from polar_sync.states.batches import PAGE_SIZE, Batch, Density, ask, cut
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.requests import Call, Calls, name_meters
from polar_sync.states.source import TICK_SECONDS, is_hopeless

_ATTRIBUTES: Mapping[str, str] = {
    "subscriptions": "subscriptions",
    "late": "late",
    "grants": "grants",
    "meters": "meters",
    "archived": "named",
    "missing": "named",
}
"""Where the items of a list belong among the parts of a customer."""
_MISSING = "missing"
_SPLITS_PER_CUSTOMER = 0.5
"""Answers that were not whole, beyond which asking one by one is cheaper than dividing further."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What customers had when they were last mirrored; of those who never were there is nothing.

    `rows` are counts by list, `meters` the stored meters, each with the meter that the organization defined.
    """

    rows: Mapping[str, Mapping[UUID, int]] = field(default_factory=dict)
    meters: Mapping[UUID, Mapping[UUID, UUID]] = field(default_factory=dict)


class Densities:
    """What is known of the lists' density, kept for as long as the client."""

    def __init__(self) -> None:
        self.by_kind = {kind: Density() for kind in _ATTRIBUTES}


class Inquiry:
    """The requests about some customers, on the way and done; what they brought is in `parts`."""

    def __init__(
        self,
        client: PolarClient,
        executor: Executor,
        calls: Calls,
        *,
        parts: dict[UUID, Parts],
        densities: Densities,
        fields: StateFields,
        catalogue: Catalogue,
        mirrored: Mirrored,
        archived: Collection[str] = (),
        is_decided: bool = False,
    ) -> None:
        self.parts = parts
        self.errors: dict[UUID, PolarSyncError] = {}
        self.obstacle: PolarSyncError | None = None
        self._client = client
        self._executor = executor
        self._calls = calls
        self._densities = densities
        self._fields = fields
        self._catalogue = catalogue
        self._mirrored = mirrored
        self._archived = archived
        self._splits = 0
        self._under_way: dict[Future[Batch], tuple[str, Call, Sequence[UUID]]] = {}
        for each in parts.values():
            each.is_decided = is_decided

    @property
    def is_stopped(self) -> bool:
        """Whether nothing that is asked from here on could succeed."""
        return self.obstacle is not None

    def get_complete(self) -> set[UUID]:
        """Customers of whom all lists have told."""
        return {key for key, parts in self._find_listed().items() if not parts.missing or _MISSING in parts.intervals}

    def _find_listed(self) -> dict[UUID, Parts]:
        asked = self._calls.keys()
        return {
            key: parts for key, parts in self.parts.items() if asked <= parts.intervals.keys() and not parts.is_doubtful
        }

    def run(self, on_tick: Callable[[], None]) -> None:
        """Ask until every list has told of every customer, or cannot."""
        rows = self._mirrored.rows
        for kind in self._calls:
            self._doubt([key for key, number in rows.get(kind, {}).items() if number > PAGE_SIZE])
        for kind, call in self._calls.items():
            self._submit_all(kind, call, [key for key, parts in self.parts.items() if kind not in parts.intervals])
        self._wait(on_tick)
        if not self.is_stopped and self._mirrored.meters:
            self._ask_for_missing()
            self._wait(on_tick)

    def _submit_all(self, kind: str, call: Call, ids: Collection[UUID]) -> None:
        sizes = self._mirrored.rows.get(kind, {})
        wanted = sorted(key for key in ids if not self.parts[key].is_doubtful)
        for some in self._densities.by_kind[kind].split(wanted, sizes=sizes):
            self._submit(kind, call, some)

    def _ask_for_missing(self) -> None:
        """Name the meters that are stored and on no list: an archived one is shown, one that is gone is not.

        Those that were named already have had their answer.
        """
        wanted: set[UUID] = set()
        asked: list[UUID] = []
        for key, parts in self._find_listed().items():
            stored = self._mirrored.meters.get(key)
            if not stored or _MISSING in parts.intervals:
                continue
            unseen = stored.keys() - get_ids((*parts.meters, *parts.named))
            parts.absent = {meter for meter in unseen if str(stored[meter]) in self._archived}
            parts.missing = unseen - parts.absent
            if parts.missing:
                asked.append(key)
                wanted.update(stored[meter] for meter in parts.missing)
        if asked:
            self._submit_all(_MISSING, name_meters(self._client, [str(each) for each in wanted]), asked)

    def _wait(self, on_tick: Callable[[], None]) -> None:
        try:
            while self._under_way:
                done, _ = wait(self._under_way, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
                on_tick()
                for future in done:
                    self._take(future, *self._under_way.pop(future))
        finally:
            for future in self._under_way:
                future.cancel()

    def _submit(self, kind: str, call: Call, ids: Sequence[UUID], *, is_counted: bool = True) -> None:
        density = self._densities.by_kind[kind] if is_counted else None
        future = self._executor.submit(ask, call, ids, density=density)
        self._under_way[future] = (kind, call, ids)

    def _take(self, future: Future[Batch], kind: str, call: Call, ids: Sequence[UUID]) -> None:
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
            self._split(kind, call, batch)

    def _split(self, kind: str, call: Call, batch: Batch) -> None:
        """Ask again about fewer customers, unless asking for their states costs no more."""
        self._splits += 1
        ids = [key for key in batch.ids if not self.parts[key].is_doubtful]
        count = batch.count_parts()
        if self._splits > _SPLITS_PER_CUSTOMER * len(self.parts) or count * 2 > len(ids):
            self._doubt(ids)
        elif not self.is_stopped:
            for some in cut(ids, count):
                self._submit(kind, call, some, is_counted=False)

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
            parts = self.parts[key]
            getattr(parts, _ATTRIBUTES[kind]).extend(shrink(kind, each, self._fields) for each in some)
            parts.intervals[kind] = batch.interval
