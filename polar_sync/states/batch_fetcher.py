"""Lists asked for many customers at a time, and asked again where a response is not whole.

Polar's paging has no tie-break, so an answer that spans two pages can lose a row; one that fits cannot. How many
customers fit is learned from the answers.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage, PolarClient
from polar_sync.exceptions import PolarSyncError
from polar_sync.payloads.interval import Interval
from polar_sync.payloads.kinds import METER, SUBSCRIPTION, Kind, get_kind
from polar_sync.payloads.values import read_uuid
from polar_sync.states.assembly import NAMED, CustomerParts, get_ids, shrink
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.rules import ARCHIVED, LATE, Call, Calls, name_meters
from polar_sync.states.source import TICK_SECONDS, stops_fetching

PAGE_SIZE = 100
_FILL = 0.76
"""The share of a page that a batch is meant to fill, so that few overflow: customers differ in what they have."""
_SIZED_FILL = 0.98
"""The same for customers of whom it is known what they last had."""
_SPLIT_FILL = 0.9
"""The same for the parts of a batch that did not fit."""
_WEIGHT = 0.3
"""How much the newest answer about a page of customers counts in what is expected of the next."""
_MISSING = "missing"
_NAMED_LISTS = frozenset({ARCHIVED, _MISSING})
_SPLITS_PER_CUSTOMER = 0.5
"""Answers that were not whole, beyond which asking one by one is cheaper than dividing further."""


class RowsPerCustomer:
    """Rows a customer in one list, as the answers so far show; shared by the threads of a client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: float | None = None

    def note(self, *, customers: int, rows: int) -> None:
        """Take an answer in; one about a few customers says less of the others than one about many."""
        now = rows / customers
        weight = _WEIGHT * min(customers / PAGE_SIZE, 1.0)
        with self._lock:
            self._rows = now if self._rows is None else self._rows * (1 - weight) + now * weight

    def split(self, ids: Sequence[UUID], *, sizes: Mapping[UUID, int]) -> list[Sequence[UUID]]:
        """Batches of as many customers as are expected to fit a page; `sizes` says what some of them last had."""
        unknown = (self._rows or 0.0) / _FILL
        batches: list[Sequence[UUID]] = []
        start, room = 0, float(PAGE_SIZE)
        for number, key in enumerate(ids):
            rows = sizes[key] / _SIZED_FILL if key in sizes else unknown
            if number > start and (rows > room or number - start == PAGE_SIZE):
                batches.append(ids[start:number])
                start, room = number, float(PAGE_SIZE)
            room -= rows
        if not ids:
            return []
        batches.append(ids[start:])
        # Of equals the smallest that take no more requests: the fewer in each, the fewer overflow.
        return batches if sizes else cut(ids, len(batches))


def cut(ids: Sequence[UUID], count: int) -> list[Sequence[UUID]]:
    """`count` even parts."""
    bounds = [len(ids) * number // count for number in range(count + 1)]
    return [ids[start:end] for start, end in pairwise(bounds)]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a list holds of some customers: their items by customer, or (None) that the answer cannot be relied on."""

    ids: Sequence[UUID]
    interval: Interval
    total: int
    items: dict[UUID, list[dict[str, Any]]] | None = field(default=None)

    def count_parts(self) -> int:
        """Into how many batches its customers are to be divided, so that each answer fits a page."""
        return max(2, -int(-self.total // (PAGE_SIZE * _SPLIT_FILL)))


def ask(
    list_items: Callable[..., ListPage], ids: Sequence[UUID], *, rows_per_customer: RowsPerCustomer | None
) -> Batch:
    """Ask one list for these customers and check that the answer is whole.

    No `rows_per_customer` where they were counted in it already, as those of an answer that was divided.
    """
    page = list_items(customer_id=[str(each) for each in ids], limit=PAGE_SIZE)
    if rows_per_customer is not None:
        rows_per_customer.note(customers=len(ids), rows=page.total_count)
    return Batch(ids, page.interval, page.total_count, _sort(page, ids))


def _sort(page: ListPage, ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]] | None:
    """The items by customer, if all that were counted came, each once, and belong to who was asked for."""
    found: dict[UUID, list[dict[str, Any]]] = {each: [] for each in ids}
    seen: set[UUID] = set()
    for item in page.items:
        owner = read_uuid(item.get("customer_id")) if isinstance(item, dict) else None
        identifier = read_uuid(item.get("id")) if isinstance(item, dict) else None
        if owner not in found or identifier is None or _is_deleted(item):
            return None
        found[owner].append(item)
        seen.add(identifier)
    return found if len(seen) == len(page.items) == page.total_count else None


def _is_deleted(item: dict[str, Any]) -> bool:
    """Of a customer who was deleted since being listed: the state endpoint says so, a list only lacks the rest."""
    customer = item.get("customer")
    return isinstance(customer, dict) and customer.get("deleted_at") is not None


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What customers had when they were last mirrored; of those who never were there is nothing.

    `rows` are counts by kind, `meters` the stored meters, each with the meter that the organization defined.
    """

    rows: Mapping[str, Mapping[UUID, int]] = field(default_factory=dict)
    meters: Mapping[UUID, Mapping[UUID, UUID]] = field(default_factory=dict)


class RowEstimates:
    """What is known of the lists' density, kept for as long as the client."""

    def __init__(self) -> None:
        self.by_kind: defaultdict[str, RowsPerCustomer] = defaultdict(RowsPerCustomer)


class BatchFetcher:
    """The requests about some customers, on the way and done; what they brought is in `parts`."""

    def __init__(
        self,
        client: PolarClient,
        executor: Executor,
        calls: Calls,
        *,
        parts: dict[UUID, CustomerParts],
        estimates: RowEstimates,
        fields: StateFields,
        catalogue: Catalogue,
        mirrored: Mirrored,
        archived: Collection[str] = (),
        is_decided: bool = False,
    ) -> None:
        self.parts = parts
        self.errors: dict[UUID, PolarSyncError] = {}
        self.stopping_error: PolarSyncError | None = None
        self._client = client
        self._executor = executor
        self._calls = calls
        self._estimates = estimates
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
        return self.stopping_error is not None

    def get_complete(self) -> set[UUID]:
        """Customers of whom all lists have told."""
        return {key for key, parts in self._find_listed().items() if not parts.missing or _MISSING in parts.intervals}

    def _find_listed(self) -> dict[UUID, CustomerParts]:
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
        for some in self._estimates.by_kind[kind].split(wanted, sizes=sizes):
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
            unseen = stored.keys() - get_ids((*parts.items[METER.name], *parts.items[NAMED]))
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
        rows_per_customer = self._estimates.by_kind[kind] if is_counted else None
        future = self._executor.submit(ask, call, ids, rows_per_customer=rows_per_customer)
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
        if stops_fetching(error):
            self.stopping_error = self.stopping_error or error
            for future in self._under_way:
                future.cancel()
        elif error.permanent:  # says something about the request for a list, and nothing about any customer in it
            self._doubt(ids)
        else:
            self.errors.update(dict.fromkeys(ids, error))

    def _keep(self, kind: str, batch: Batch, items: Mapping[UUID, list[dict[str, Any]]]) -> None:
        shown, place = _get_place(kind)
        self._catalogue.add(shown.name, chain.from_iterable(items.values()))
        for key, some in items.items():
            parts = self.parts[key]
            parts.items[place].extend(shrink(shown, each, self._fields) for each in some)
            parts.intervals[kind] = batch.interval


def _get_place(name: str) -> tuple[Kind, str]:
    """What a list holds, and where its items belong among the parts of a customer."""
    if name in _NAMED_LISTS:
        return METER, NAMED
    return (SUBSCRIPTION, LATE) if name == LATE else (get_kind(name), name)
