"""The figures of the overview, each from one statement over the mirror, kept for a minute, and how they went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour, TruncMonth, TruncYear
from django.utils import timezone

from polar_sync.admin.formatting import BELOW_ZERO
from polar_sync.models import BenefitGrant, Customer, CustomerObservation, DailyStatistics, Meter, Subscription
from polar_sync.store.statistics import sum_subscriptions

KEPT_SECONDS = 60
CACHE_KEY = "polar_sync:admin:figures:3"
MAX_GROUPS = 20
MAX_METERS = 12
# Sums of what is nearer to the end of a float would be no numbers any more.
_LARGEST = 1e300
_UNITS = (
    (timedelta(days=3), "hour", TruncHour),
    (timedelta(days=92), "day", TruncDay),
    (timedelta(days=365 * 6), "month", TruncMonth),
    (timedelta(days=365 * 100), "year", TruncYear),
)
# Polar did not exist before; earlier dates, and those after next year, are somebody's joke and would stretch the axis.
_EARLIEST = datetime(2015, 1, 1, tzinfo=timezone.get_fixed_timezone(0))
SHOWN_DAYS = 30


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """All customers' units on one meter."""

    name: str
    consumed: float
    credited: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How many customers and present subscriptions started in each period; `unit` is hour, day, month or year."""

    unit: str
    starts: list[datetime]
    customers: list[int]
    subscriptions: list[int]


@dataclass(frozen=True, slots=True)
class Figures:
    """As of `as_of`, on our clock. `revenue` is in the currency's smallest unit a month; `fresh` counts customers.

    `answered` is when Polar last answered about any customer's state, by the organization's Polar id.
    """

    as_of: datetime
    customers: int
    subscriptions: dict[str, int]
    revenue: dict[str, float]
    uncounted: int
    granted: int
    grants: dict[str, int]
    meters: list[MeterTotal]
    below_zero: int
    fresh: dict[str, int]
    answered: dict[UUID, datetime] = field(default_factory=dict)
    growth: Growth = field(default_factory=lambda: Growth("month", [], [], []))


def get_figures() -> Figures:
    """The figures, at most `KEPT_SECONDS` old, from Django's default cache."""
    found: Figures | None = cache.get(CACHE_KEY)
    if found is None:
        found = compute_figures()
        cache.set(CACHE_KEY, found, KEPT_SECONDS)
    return found


def compute_figures() -> Figures:
    """The figures as of now: nine statements."""
    subscriptions = sum_subscriptions(Subscription.objects.all())
    meters, below_zero = _sum_meters()
    fresh, answered = _count_fresh()
    grants = _count_grants()
    return Figures(
        as_of=timezone.now(),
        customers=Customer.objects.count(),
        subscriptions=_keep_largest(subscriptions.by_status),
        revenue=_keep_largest(subscriptions.revenue),
        uncounted=subscriptions.uncounted,
        granted=sum(grants.values()),
        grants=_keep_largest(grants),
        meters=meters,
        below_zero=below_zero,
        fresh=fresh,
        answered=answered,
        growth=_get_growth(),
    )


def _count_grants() -> dict[str, int]:
    rows = BenefitGrant.objects.order_by().values_list("benefit_type").annotate(number=Count("pk"))
    return {str(name): number for name, number in rows.iterator()}


def _sum_meters() -> tuple[list[MeterTotal], int]:
    def total(column: str) -> Any:
        return Sum(column, filter=Q(**{f"{column}__gt": -_LARGEST, f"{column}__lt": _LARGEST}), default=0.0)

    rows = (
        Meter.objects.order_by()
        .values_list("meter_id", "meter__name")
        .annotate(
            number=Count("pk"),
            consumed=total("consumed_units"),
            credited=total("credited_units"),
            below=Count("pk", filter=Q(balance__lte=BELOW_ZERO)),
        )
        .order_by("-number", "meter_id")
    )
    shown: list[MeterTotal] = []
    below_zero = 0
    for meter_id, name, _number, consumed, credited, below in rows.iterator():
        below_zero += below
        if len(shown) < MAX_METERS:
            shown.append(MeterTotal(name or str(meter_id or "–"), consumed, credited))
    return shown, below_zero


def _count_fresh() -> tuple[dict[str, int], dict[UUID, datetime]]:
    """Of how many living customers Polar has been heard in the last hour, day and week; and when of any, by whose."""
    now = timezone.now()
    ages = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
    fresh, answered = dict.fromkeys(ages, 0), {}
    rows: Any = (
        CustomerObservation.objects.filter(customer__deleted_at=None)
        .order_by()
        .values("customer__organization_id")
        .annotate(
            last=Max("answered_at"),
            **{name: Count("pk", filter=Q(state_observed_at__gte=now - age)) for name, age in ages.items()},
        )
    )
    for row in rows:
        for name in ages:
            fresh[name] += row[name]
        if row["last"] is not None:
            answered[row["customer__organization_id"]] = row["last"]
    return fresh, answered


def _get_growth() -> Growth:
    """Counts by the period of the start, in periods so long that a plot has room for all."""
    latest = timezone.now() + timedelta(days=366)
    customers = Customer.objects.filter(created_at__gte=_EARLIEST, created_at__lt=latest)
    subscriptions = Subscription.objects.present().filter(started_at__gte=_EARLIEST, started_at__lt=latest)
    ends = [
        *customers.aggregate(first=Min("created_at"), last=Max("created_at")).values(),
        *subscriptions.aggregate(first=Min("started_at"), last=Max("started_at")).values(),
    ]
    known = [end for end in ends if end is not None]
    if not known:
        return Growth("month", [], [], [])
    first, last = min(known), max(known)
    _limit, unit, trunc = next(unit for unit in _UNITS if last - first <= unit[0])
    by_customer = _count_by(customers, trunc("created_at"))
    by_subscription = _count_by(subscriptions, trunc("started_at"))
    starts = _list_starts(min([*by_customer, *by_subscription]), max([*by_customer, *by_subscription]), unit)
    return Growth(
        unit, starts, [by_customer.get(one, 0) for one in starts], [by_subscription.get(one, 0) for one in starts]
    )


def _count_by(rows: QuerySet[Any], period: Any) -> dict[datetime, int]:
    counted = rows.order_by().annotate(period=period).values_list("period").annotate(number=Count("pk"))
    return dict(counted.values_list(F("period"), "number"))


def _list_starts(first: datetime, last: datetime, unit: str) -> list[datetime]:
    starts = [first]
    while starts[-1] < last:
        starts.append(_get_next(starts[-1], unit))
    return starts


def _get_next(start: datetime, unit: str) -> datetime:
    """The start of the period after this one; days are those of the calendar, whatever summer time does to hours."""
    if unit == "hour":
        return timezone.localtime(start + timedelta(hours=1))
    naive = timezone.make_naive(start)
    if unit == "day":
        following = naive + timedelta(days=1)
    elif unit == "month":
        following = naive.replace(year=naive.year + naive.month // 12, month=naive.month % 12 + 1)
    else:
        following = naive.replace(year=naive.year + 1)
    return timezone.make_aware(following)


def _keep_largest(found: dict[str, Any]) -> dict[str, Any]:
    """The largest groups: currencies and statuses are texts that anybody can send."""
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_GROUPS])


@dataclass(slots=True)
class Day:
    """Numbers of all organizations together; revenue by currency, in its smallest unit a month."""

    date: date
    customers: int = 0
    active_subscriptions: int = 0
    revenue: dict[str, int] = field(default_factory=dict)


def get_history() -> list[Day]:
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
