"""Pages of long lists, counted no further than anybody turns them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.utils.formats import number_format

if TYPE_CHECKING:  # Django's own class takes no type arguments when it runs
    BasePaginator = Paginator[Any]
else:
    BasePaginator = Paginator

COUNT_LIMIT = 10_000


class Count(int):
    """A number of rows, its digits grouped wherever it is shown."""

    def __str__(self) -> str:
        return number_format(int(self), force_grouping=True)


class AtLeast(Count):
    """A number that the count stopped at; whatever shows it says that there are more."""

    def __str__(self) -> str:
        return f"{super().__str__()}+"


class BoundedPaginator(BasePaginator):
    """Counts up to `COUNT_LIMIT` rows: a query whose cost does not grow with the table.

    What lies beyond is reached by search, filter, date and order.
    """

    @cached_property
    def count(self) -> int:
        """The number of rows, or `AtLeast` the limit."""
        rows: Any = self.object_list
        found = rows.order_by().values("pk")[: COUNT_LIMIT + 1].count()
        return AtLeast(COUNT_LIMIT) if found > COUNT_LIMIT else Count(found)
