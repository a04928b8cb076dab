"""Django's list of rows, in orders that indexes have, paged and drilled into without counting a long table."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import JSONField, Model, QuerySet, Subquery
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dates import MONTHS
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

# Comparisons for which no value makes PostgreSQL end the transaction, as a pattern can, or a part of JSON.
_COMPARISONS = frozenset({"exact", "in", "isnull", "gt", "gte", "lt", "lte", "year", "month", "day"})
_UNUSABLE = (ValueError, OverflowError, DataError)
COUNT_LIMIT = 10_000
MAX_YEARS = 20


class IndexedChangeList(ChangeList):
    """A list whose rows come by the chosen columns and then by the key, in the direction of the first."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Without the list's own order, which Django appends to what is chosen.

        No index has both: where many rows have the same in the column, null mostly, all of these would be sorted.
        """
        ordering: Any = super().get_ordering(request, queryset.order_by())
        if ordering == ["-pk"]:
            return super().get_ordering(request, queryset)
        if ordering[-1] == "-pk" and not str(ordering[0]).startswith("-"):
            ordering[-1] = "pk"
        return ordering

    def get_filters(self, request: HttpRequest) -> Any:
        """Django's, for whom December 9999, which ends when no calendar goes on, is an error of the server."""
        try:
            return super().get_filters(request)
        except _UNUSABLE as error:
            raise IncorrectLookupParameters(error) from error

    def get_results(self, request: HttpRequest) -> None:
        """Django's, for whom a value is an error of the server if only the database's driver finds it to be none."""
        try:
            super().get_results(request)
        except _UNUSABLE as error:
            raise IncorrectLookupParameters(error) from error


def is_comparison(model: type[Model], lookup: str) -> bool:
    """Whether a parameter compares a column; True also where there is no such column, of which Django speaks itself."""
    found: Any = model
    field: Any = None
    rest = lookup.split(LOOKUP_SEP)
    while rest and (field is None or field.is_relation):
        options = found._meta  # noqa: SLF001 - Django's public name for it
        try:
            field = options.pk if rest[0] == "pk" else options.get_field(rest[0])
        except FieldDoesNotExist:
            break
        found, rest = field.related_model, rest[1:]
    return field is None or (not isinstance(field, JSONField) and _COMPARISONS.issuperset(rest))


if TYPE_CHECKING:  # Django's own class takes no type arguments when it runs
    BasePaginator = Paginator[Any]
else:
    BasePaginator = Paginator


class Count(int):
    """A number of rows, its digits grouped wherever it is shown."""

    def __str__(self) -> str:
        return number_format(int(self), force_grouping=True)


class AtLeast(Count):
    """A number that the count stopped at; whatever shows it says that there are more."""

    def __str__(self) -> str:
        return f"{super().__str__()}+"


def bound(number: int, limit: int) -> Count:
    """What was counted up to one more than a limit."""
    return AtLeast(limit) if number > limit else Count(number)


class BoundedPaginator(BasePaginator):
    """Counts up to `COUNT_LIMIT` rows: a query whose cost does not grow with the table.

    What lies beyond is reached by search, filter, date and order.
    """

    @cached_property
    def count(self) -> int:
        """The number of rows, or `AtLeast` the limit."""
        rows: Any = self.object_list
        found = rows.order_by().values("pk")[: COUNT_LIMIT + 1].count()
        return bound(found, COUNT_LIMIT)


def get_date_choices(changelist: ChangeList) -> dict[str, Any]:
    """What `admin/date_hierarchy.html` shows: the years from first to last row, a year's months, a month's days.

    Django's own reads every row for it; here the index gives first and last.
    """
    field = str(changelist.date_hierarchy)
    year, month, day = (_read(changelist, f"{field}__{part}") for part in ("year", "month", "day"))

    def link(**parts: int) -> str:
        return changelist.get_query_string(
            {f"{field}__{name}": number for name, number in parts.items()}, [f"{field}__"]
        )

    if year and month and day:
        back = {"link": link(year=year, month=month), "title": _name_month(year, month)}
        return {"show": True, "back": back, "choices": [{"title": _name_day(year, month, day)}]}
    if year and month:
        days = range(1, monthrange(year, month)[1] + 1)
        choices = [{"link": link(year=year, month=month, day=one), "title": str(one)} for one in days]
        return {"show": True, "back": {"link": link(year=year), "title": str(year)}, "choices": choices}
    if year:
        choices = [{"link": link(year=year, month=one), "title": MONTHS[one].capitalize()} for one in MONTHS]
        return {"show": True, "back": {"link": link(), "title": _("All dates")}, "choices": choices}
    return {"show": True, "choices": [{"link": link(year=one), "title": str(one)} for one in _get_years(changelist)]}


def _read(changelist: ChangeList, name: str) -> int | None:
    value = changelist.params.get(name)
    return int(value) if value and str(value).isdecimal() else None


def _get_years(changelist: ChangeList) -> list[int]:
    field = str(changelist.date_hierarchy)
    dated = changelist.queryset.filter(**{f"{field}__isnull": False}).values(field)
    # Not `Min` and `Max`: of rows that are filtered by another table they read every one.
    ends = (Subquery(dated.order_by(order)[:1]) for order in (field, f"-{field}"))
    found = [pair for pair in changelist.model._base_manager.order_by().values_list(*ends)[:1] if None not in pair]  # noqa: SLF001 - Django's public name for it
    if not found:
        return []
    first, last = map(_get_year, found[0])
    # A year that makes no sense must not make a list of thousands.
    years = range(
        max(first, min(last, timezone.now().year + 1) - MAX_YEARS + 1), min(last, timezone.now().year + 1) + 1
    )
    return sorted({first, *years, last})


def _get_year(time: datetime) -> int:
    try:
        return timezone.localtime(time).year
    except OverflowError:
        return time.year


def _name_month(year: int, month: int) -> str:
    return date_format(date(year, month, 1), "YEAR_MONTH_FORMAT")


def _name_day(year: int, month: int, day: int) -> str:
    return date_format(date(year, month, min(day, monthrange(year, month)[1])), "MONTH_DAY_FORMAT")
