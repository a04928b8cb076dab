"""One list asked for many customers at a time, in answers that each fit one page.

Polar's paging has no tie-break, so an answer that spans two pages can lose a row; one that fits cannot. How many
customers fit is learned from the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage
from polar_sync.payloads.interval import Interval
from polar_sync.payloads.values import read_uuid

PAGE_SIZE = 100
_FILL = 0.76
"""The share of a page that a batch is meant to fill, so that few overflow: customers differ in what they have."""
_SIZED_FILL = 0.98
"""The same for customers of whom it is known what they last had."""
_SPLIT_FILL = 0.9
"""The same for the parts of a batch that did not fit."""
_WEIGHT = 0.3
"""How much the newest answer about a page of customers counts in what is expected of the next."""


class Density:
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


def ask(list_items: Callable[..., ListPage], ids: Sequence[UUID], *, density: Density | None) -> Batch:
    """Ask one list for these customers and check that the answer is whole.

    No `density` where they were counted in it already, as those of an answer that was divided.
    """
    page = list_items(customer_id=[str(each) for each in ids], limit=PAGE_SIZE)
    if density is not None:
        density.note(customers=len(ids), rows=page.total_count)
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
