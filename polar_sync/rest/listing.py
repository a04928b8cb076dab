"""Pages of a list: by number, as on Polar, or by cursor, where a later page costs no more than the first.

https://polar.sh/docs/api-reference/customers/list
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, OrderBy, QuerySet
from rest_framework.request import Request

from polar_sync.rest.counts import count_rows
from polar_sync.rest.cursors import Position, read_cursor, write_cursor
from polar_sync.rest.details import ParameterError, make_detail, read_all, read_choice, read_positive
from polar_sync.rest.keyset import slice_after

Read = Callable[[QuerySet[Any]], Sequence[Any]]
MAX_LIMIT = 100
DEFAULT_LIMIT = 10
PARAMETERS = frozenset({"page", "limit", "sorting", "cursor"})
_MAX_OFFSET = 2**63 - 1 - MAX_LIMIT


@dataclass(frozen=True, slots=True)
class Sorting:
    """Column names, each with `-` for descending; `names` are what may be asked for."""

    names: tuple[str, ...]
    default: tuple[str, ...]

    @property
    def choices(self) -> list[str]:
        """What the parameter takes."""
        return [f"{sign}{name}" for name in self.names for sign in ("", "-")]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list request asks for: a page by number, or (`cursor` is not None) the rows after a position."""

    sorting: tuple[str, ...]
    limit: int = DEFAULT_LIMIT
    page: int = 1
    is_by_cursor: bool = False
    position: Position | None = None

    @property
    def order(self) -> list[OrderBy]:
        """With the id as the last word, in the direction of the last criterion, so that an index serves it all."""
        last = "-pk" if self.sorting[-1].startswith("-") else "pk"
        return [_order(name) for name in (*self.sorting, last)]


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page and what Polar calls its pagination."""

    rows: Sequence[Any]
    pagination: dict[str, Any]


def read_listing(request: Request, sorting: Sorting) -> Listing:
    """Read and check paging and sorting; raises `ParameterError` with everything that is wrong."""
    query = request.query_params
    wrong: list[dict[str, Any]] = []
    numbers = {"page": 1, "limit": DEFAULT_LIMIT}
    for name in numbers:
        if name in query:
            try:
                numbers[name] = read_positive(query[name], ("query", name))
            except ParameterError as error:
                wrong += error.details
    asked = sorting.default
    if "sorting" in query:
        try:
            asked = tuple(_read_sorting(query.getlist("sorting"), sorting))
        except ParameterError as error:
            wrong += error.details
    if wrong:
        raise ParameterError(*wrong)
    limit = min(numbers["limit"], MAX_LIMIT)
    if "cursor" in query:
        return _read_cursor_listing(request, asked, limit)
    return Listing(asked, limit, numbers["page"])


def _read_sorting(texts: Iterable[str], sorting: Sorting) -> list[str]:
    return read_all(
        lambda text, location: read_choice(text, location, choices=sorting.choices), texts, ("query", "sorting")
    )


def _read_cursor_listing(request: Request, sorting: tuple[str, ...], limit: int) -> Listing:
    location = ("query", "cursor")
    if "page" in request.query_params:
        raise ParameterError(make_detail("value_error", location, "Give page or cursor, not both.", None))
    if len(sorting) != 1:
        raise ParameterError(make_detail("value_error", location, "With a cursor there is one sorting.", None))
    position = read_cursor(request.query_params["cursor"], sorting[0], location)
    return Listing(sorting, limit, is_by_cursor=True, position=position)


def get_page(rows: QuerySet[Any], listing: Listing, *, read: Read = list) -> Page:
    """The rows of the page that is asked for, as `read` makes them of a query; beyond the last there are none."""
    return _get_page_after(rows, listing, read) if listing.is_by_cursor else _get_page_by_number(rows, listing, read)


def _get_page_by_number(rows: QuerySet[Any], listing: Listing, read: Read) -> Page:
    offset = (listing.page - 1) * listing.limit
    ordered = rows.order_by(*listing.order)
    # The first page of few is all of them, and need not be counted; beyond the last there is nothing to look for.
    found: Sequence[Any] = read(ordered[: listing.limit]) if offset == 0 else ()
    is_all = offset == 0 and len(found) < listing.limit
    total = len(found) if is_all else count_rows(rows)
    if 0 < offset < min(total, _MAX_OFFSET):
        found = read(ordered[offset : offset + listing.limit])
    return Page(found, {"total_count": total, "max_page": math.ceil(total / listing.limit)})


def _get_page_after(rows: QuerySet[Any], listing: Listing, read: Read) -> Page:
    """No total: counting is what would make it cost as much as the table is long."""
    sorting = listing.sorting[0]
    found = slice_after(rows, sorting, listing.position, limit=listing.limit + 1, read=read)
    page = found[: listing.limit]
    has_more = len(found) > listing.limit
    cursor = write_cursor(sorting, page[-1]) if has_more else None
    return Page(page, {"has_next_page": has_more, "next_cursor": cursor})


def _order(name: str) -> OrderBy:
    """Nulls are the greatest, as PostgreSQL has it, in its words for its own default, which its indexes serve."""
    if name.startswith("-"):
        return F(name[1:]).desc(nulls_first=True)
    return F(name).asc(nulls_last=True)
