"""Pages of a list: by number, as on Polar, or by cursor, where a later page costs no more than the first.

https://polar.sh/docs/api-reference/customers/list
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.db.models import F, OrderBy, Q, QuerySet
from rest_framework.request import Request

from polar_sync.conf import settings
from polar_sync.payloads.values import clean_text
from polar_sync.rest.validation import (
    Location,
    ParameterError,
    make_detail,
    read_all,
    read_choice,
    read_instant,
    read_positive,
    read_uuid,
)

LONG = 10_000
"""Rows from which on a count is kept for `REST_COUNT_SECONDS`; a shorter list is counted each time."""
Value = datetime | str | float | None
_INSTANTS = frozenset({"created_at", "current_period_end"})
_NUMBERS = frozenset({"balance"})
Read = Callable[[QuerySet[Any]], Sequence[Any]]
MAX_LIMIT = 100
DEFAULT_LIMIT = 10
PARAMETERS = frozenset({"page", "limit", "sorting", "cursor"})
_MAX_OFFSET = 2**63 - 1 - MAX_LIMIT


def count_rows(rows: QuerySet[Any]) -> int:
    """The number of rows, of a long list as of up to `REST_COUNT_SECONDS` ago."""
    seconds = settings.rest_count_seconds
    if not seconds:
        return rows.count()
    try:
        sql, parameters = rows.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        return 0
    digest = hashlib.sha256(repr((rows.db, sql, parameters)).encode("utf-8", "surrogatepass")).hexdigest()
    key = f"polar_sync:count:{digest}"
    kept: int | None = cache.get(key)
    if kept is not None:
        return kept
    count = rows.count()
    if count >= LONG:
        cache.set(key, count, seconds)
    return count


@dataclass(frozen=True, slots=True)
class Position:
    """The sort key and the id of a row; a key of None is a row without a value."""

    value: Value
    pk: UUID


def write_cursor(sorting: str, row: Any) -> str:
    """The cursor of the rows after this one."""
    value = getattr(row, sorting.removeprefix("-"))
    shown = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sorting, shown, str(row.pk)]).encode("ascii")).decode("ascii")


def read_cursor(text: str, sorting: str, location: Location) -> Position | None:
    """The place that a cursor stands for; the empty one is the beginning.

    Raises `ParameterError` for one that was not given out here, or for another sorting.
    """
    if not text:
        return None
    try:
        made_for, value, pk = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        if made_for == sorting:
            return Position(_read_value(value, sorting.removeprefix("-"), location), read_uuid(pk, location))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, ParameterError):
        pass  # told below
    message = "Give the next_cursor of an earlier answer, with the same sorting."
    raise ParameterError(make_detail("value_error", location, message, text))


def _read_value(value: Any, name: str, location: Location) -> Value:
    if value is None:
        return None
    if name in _INSTANTS:
        return read_instant(value, location)
    if name in _NUMBERS:
        return float(value)
    if isinstance(value, str):
        return clean_text(value)
    raise TypeError


def slice_after(
    rows: QuerySet[Any],
    sorting: str,
    position: Position | None,
    *,
    limit: int,
    read: Callable[[QuerySet[Any]], Sequence[Any]] = list,
) -> list[Any]:
    """Up to `limit` rows after `position` (None: from the beginning), ordered by `sorting` and then the id.

    Rows without a value are the greatest. They are asked for apart, as no index could begin in the midst of an
    alternative.
    """
    sign = "-" if sorting.startswith("-") else ""
    found: list[Any] = []
    for part in _get_parts(rows, sorting.removeprefix("-"), position, is_descending=bool(sign)):
        if len(found) < limit:
            found += read(part.order_by(sorting, f"{sign}pk")[: limit - len(found)])
    return found


def _get_parts(
    rows: QuerySet[Any], name: str, position: Position | None, *, is_descending: bool
) -> list[QuerySet[Any]]:
    """The rows with a value and those without, as far as they come after the position, in their order."""
    valued, bare = rows.filter(**{f"{name}__isnull": False}), rows.filter(**{f"{name}__isnull": True})
    if position is None:
        return [bare, valued] if is_descending else [valued, bare]
    if position.value is None:
        bare = _cut(bare, name, position, is_descending=is_descending)
        return [bare, valued] if is_descending else [bare]
    valued = _cut(valued, name, position, is_descending=is_descending)
    return [valued] if is_descending else [valued, bare]


def _cut(rows: QuerySet[Any], name: str, position: Position, *, is_descending: bool) -> QuerySet[Any]:
    beyond = "lt" if is_descending else "gt"
    if position.value is None:
        return rows.filter(**{f"pk__{beyond}": position.pk})
    same = Q(**{name: position.value, f"pk__{beyond}": position.pk})
    # The first condition says nothing new; it is where the index begins.
    return rows.filter(**{f"{name}__{beyond}e": position.value}).filter(
        Q(**{f"{name}__{beyond}": position.value}) | same
    )


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


def parse_listing(request: Request, sorting: Sorting) -> Listing:
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
