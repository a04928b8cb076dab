"""How the mirror's numbers went over the last days, from the statistics that each run that succeeds keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from django.utils import timezone

from polar_sync.models import DailyStatistics

SHOWN_DAYS = 30


@dataclass(slots=True)
class Day:
    """Numbers of all organizations together; revenue by currency, in its smallest unit a month."""

    date: date
    customers: int = 0
    active_subscriptions: int = 0
    revenue: dict[str, int] = field(default_factory=dict)


def read_history() -> list[Day]:
    """The days on which a run succeeded, of the last `SHOWN_DAYS`, oldest first: one statement.

    An organization that has no numbers of such a day counts with its last ones before, so that one whose run failed
    does not look like a loss; one that has none yet is not in the sum.
    """
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    first = today - timedelta(days=SHOWN_DAYS - 1)
    # As many days before, for the numbers that still hold when those shown begin.
    earliest = first - timedelta(days=SHOWN_DAYS)
    rows = DailyStatistics.objects.filter(date__gt=earliest, date__lte=today).order_by("date", "pk")
    known: dict[int, DailyStatistics] = {}
    found: dict[date, Day] = {}
    for row in rows:
        known[row.organization_id] = row
        if row.date >= first:
            found[row.date] = _add(row.date, known.values())
    return list(found.values())


def _add(day: date, rows: Iterable[DailyStatistics]) -> Day:
    total = Day(day)
    for row in rows:
        total.customers += row.customers
        total.active_subscriptions += row.active_subscriptions
        for currency, amount in row.monthly_recurring_revenue.items():
            total.revenue[currency] = total.revenue.get(currency, 0) + amount
    return total
