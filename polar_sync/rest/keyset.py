"""The rows after a position in an order, found through an index and not by counting them off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet

if TYPE_CHECKING:
    from polar_sync.rest.cursors import Position


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
