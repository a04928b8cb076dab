"""Which stretches of Polar's list a pass asks for.

https://polar.sh/docs/api-reference/customers/list pages by offset: a stretch begins at a multiple of its length. The
first pass takes whole pages, in any order and by many at once. Where customers are deleted meanwhile, later ones walk
backwards, from the newest customers to the oldest, through windows that overlap: a deletion only ever moves a customer
down, to where the walk has not been yet, and the overlap shows that nobody slipped through among equal timestamps.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from polar_sync.client import ListPage

PAGE_SIZE = 100


def count_pages(answer: ListPage) -> int:
    """How many whole pages the list has: as many as its customers fill, whatever number of pages the answer tells.

    Where the page itself is not full, which says that the list ends with it, no more than the answer tells.
    """
    filled = -(-answer.total_count // PAGE_SIZE)
    return filled if len(answer.items) >= PAGE_SIZE else min(answer.max_page, filled)


class Window(NamedTuple):
    """The customers from `start` up to `end`, counted from 0; `page` and `limit` are how Polar is asked for them."""

    page: int
    limit: int

    @property
    def start(self) -> int:
        """The first of them."""
        return (self.page - 1) * self.limit

    @property
    def end(self) -> int:
        """The one after the last."""
        return self.page * self.limit


_walks: dict[int, list[Window]] = {}
_lock = threading.Lock()


def get_window(number: int, *, pass_number: int) -> Window:
    """The window of that number, from 1; higher numbers are further on in the list."""
    if pass_number == 1:
        return Window(number, PAGE_SIZE)
    with _lock:
        walk = _walks.setdefault(PAGE_SIZE, [Window(1, PAGE_SIZE)])
        while len(walk) < number:
            walk.append(_find_next(walk[-1], size=PAGE_SIZE))
        return walk[number - 1]


def find_last_number(end: int) -> int:
    """The number of the overlapping window from which a walk backwards must begin to cover everything before `end`."""
    number = 1
    while get_window(number, pass_number=2).end < end:
        number += 1
    return number


def _find_next(window: Window, *, size: int) -> Window:
    """The window that reaches furthest of those that share a fifth of a page with this one, or less where none does."""
    for overlap in range(size // 5, -1, -1):
        latest_start = window.end - overlap
        windows = (Window(latest_start // limit + 1, limit) for limit in range(1, size + 1))
        found = max(windows, key=lambda one: one.end)
        if found.end > window.end:
            return found
    raise AssertionError("a window of one customer that begins where this one ends always reaches further")
