"""The drill-down by date, from the calendar instead of from a scan of the table."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import Subquery
from django.utils import timezone
from django.utils.dates import MONTHS
from django.utils.formats import date_format
from django.utils.translation import gettext as _

MAX_YEARS = 20


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
