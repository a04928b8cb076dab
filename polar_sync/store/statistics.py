"""Monthly recurring revenue, and the day's statistics of an organization.

Monthly recurring revenue is the sum of the amounts of all subscriptions whose status is `active`, each once, divided by
the months between two charges: the months of its `recurring_interval` (`day` 12 / 365, `week` 12 / 52, `month` 1,
`year` 12) times its product's `recurring_interval_count`, 1 where the product is not known. Trialing subscriptions pay
nothing yet, past due ones did not pay: neither is in it. One that is to end at its period's end is, until then.
Amounts are as Polar tells them, in the currency's smallest unit, before discounts that it does not hold, taxes and
usage. Currencies are never added to each other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Count, FloatField, QuerySet, Sum
from django.db.models.functions import Cast
from django.utils import timezone

from polar_sync.models import Customer, DailyStatistics, Organization, Subscription, on_primary

MONTHS_BETWEEN = {"day": 12 / 365, "week": 12 / 52, "month": 1.0, "year": 12.0}
ACTIVE = "active"
_CURRENCY = re.compile("[a-z]{3}")
_NUMBERS = ("customers", "active_subscriptions", "monthly_recurring_revenue")


@dataclass(frozen=True, slots=True)
class SubscriptionTotals:
    """Subscriptions by status; monthly recurring revenue by currency, in its smallest unit.

    `uncounted` are active ones with an amount that no month can be told of, as nobody knows their interval.
    """

    by_status: dict[str, int]
    revenue: dict[str, float]
    uncounted: int


def get_monthly_amount(amount: float, interval: str | None, interval_count: int | None) -> float | None:
    """What an amount charged every so many intervals comes to in a month; None for an interval that nobody knows."""
    months = MONTHS_BETWEEN.get(interval or "")
    if months is None:
        return None
    return amount / (months * (interval_count if interval_count and interval_count > 0 else 1))


def sum_subscriptions(subscriptions: QuerySet[Subscription]) -> SubscriptionTotals:
    """One statement over these. The product is joined to one subscription each, so that none counts twice."""
    rows = (
        subscriptions.order_by()
        .values_list("status", "currency", "recurring_interval", "product__recurring_interval_count")
        .annotate(number=Count("pk"), total=Sum(Cast("amount", FloatField())))
    )
    by_status: defaultdict[str, int] = defaultdict(int)
    revenue: defaultdict[str, float] = defaultdict(float)
    uncounted = 0
    for status, currency, interval, interval_count, number, total in rows.iterator():
        by_status[str(status)] += number
        if status != ACTIVE or not total:
            continue
        monthly = get_monthly_amount(total, interval, interval_count)
        if monthly is None:
            uncounted += number
        else:
            revenue[str(currency or "").lower()] += monthly
    return SubscriptionTotals(dict(by_status), dict(revenue), uncounted)


def record_statistics(organization: Organization) -> None:
    """Count the organization's mirror and keep the numbers as today's, instead of earlier ones of today.

    Three statements. Currencies that are no code of three letters are left out.
    """
    customers = on_primary(Customer.objects).filter(organization_id=organization.polar_id)
    subscriptions = on_primary(Subscription.objects).filter(customer__organization_id=organization.polar_id)
    totals = sum_subscriptions(subscriptions)
    row = DailyStatistics(
        organization=organization,
        date=timezone.localdate(timezone=timezone.get_default_timezone()),
        customers=customers.count(),
        active_subscriptions=totals.by_status.get(ACTIVE, 0),
        monthly_recurring_revenue={
            currency: round(amount) for currency, amount in totals.revenue.items() if _CURRENCY.fullmatch(currency)
        },
    )
    DailyStatistics.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["organization", "date"], update_fields=_NUMBERS
    )
