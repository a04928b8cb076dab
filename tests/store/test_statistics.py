"""Monthly recurring revenue, and the statistics that are kept of a day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Customer, DailyStatistics, Organization, Product
from polar_sync.store.statistics import get_monthly_amount, record_statistics
from tests.factories import (
    apply_absences,
    apply_states,
    build_full_state,
    build_state,
    build_subscription,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("amount", "interval", "count", "monthly"),
    [
        (2500, "month", None, 2500),
        (2500, "month", 3, 2500 / 3),
        (12000, "year", 1, 1000),
        (12000, "year", 2, 500),
        (120, "week", None, 520),
        (120, "week", 2, 260),
        (12, "day", None, 365),
        (100, "fortnight", None, None),
        (100, None, None, None),
        (100, "month", 0, 100),
    ],
)
def test_amounts_are_brought_to_a_month(
    amount: int, interval: str | None, count: int | None, monthly: float | None
) -> None:
    assert get_monthly_amount(amount, interval, count) == (pytest.approx(monthly) if monthly is not None else None)


def test_day_holds_what_is_active_and_living_by_currency(organization: Organization) -> None:
    Product.objects.create(pk=make_uuid("quarterly"), organization=organization, recurring_interval_count=3)
    apply_states(
        organization,
        build_state(
            "one",
            subscriptions=[
                build_subscription("month", amount=2500),
                build_subscription("year", amount=12000, recurring_interval="year"),
                build_subscription("quarterly", amount=900, product_id=make_id("quarterly")),
                build_subscription("loud", amount=100, currency="USD"),
                build_subscription("euro", amount=700, currency="eur"),
                build_subscription("trial", amount=9999, status="trialing"),
                build_subscription("free", amount=0, currency="chf"),
                build_subscription("strange", amount=5, recurring_interval="eon"),
                build_subscription("no code", amount=5, currency="gold"),
            ],
        ),
        build_state("two", subscriptions=[build_subscription("ends", amount=1, cancel_at_period_end=True)]),
        build_full_state("gone", version=1000),
        interval=read_at(0),
    )
    apply_absences(organization, "gone", interval=read_at(1))
    record_statistics(organization)
    row = DailyStatistics.objects.get()
    assert (row.customers, row.active_subscriptions) == (2, 9)
    assert row.monthly_recurring_revenue == {"usd": 2500 + 1000 + 300 + 100 + 1, "eur": 700}


def test_day_is_written_over_and_each_day_is_kept(organization: Organization) -> None:
    apply_states(organization, build_full_state("one", version=10), interval=read_at(0))
    with freeze("2026-03-01T09:00:00"):
        record_statistics(organization)
    apply_states(organization, build_full_state("two", version=10), interval=read_at(0))
    with freeze("2026-03-01T17:00:00"):
        record_statistics(organization)
    with freeze("2026-03-02T09:00:00"):
        record_statistics(organization)
    days = DailyStatistics.objects.order_by("date").values_list("date", "customers", "monthly_recurring_revenue")
    assert list(days) == [(date(2026, 3, 1), 2, {"usd": 40}), (date(2026, 3, 2), 2, {"usd": 40})]


def test_day_is_that_of_the_projects_time_zone(organization: Organization, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    with freeze("2026-03-01T20:00:00"):
        record_statistics(organization)
    assert DailyStatistics.objects.get().date == date(2026, 3, 2)


def test_organizations_are_counted_apart(organization: Organization) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    apply_states(organization, build_full_state("mine", version=10), interval=read_at(0))
    theirs = build_full_state("theirs", version=30) | {"organization_id": str(other.polar_id)}
    apply_states(other, theirs, interval=read_at(0))
    assert Customer.objects.filter(organization=other).count() == 1
    for one in (organization, other):
        record_statistics(one)
    rows = DailyStatistics.objects.values_list("organization__name", "customers", "monthly_recurring_revenue")
    assert set(map(str, rows)) == {"('default', 1, {'usd': 20})", "('other', 1, {'usd': 60})"}


def test_organization_without_customers_has_a_day_too() -> None:
    empty = Organization.objects.create(name="empty", server="production")
    apply_states(create_organization(), build_full_state("other"), interval=read_at(0))
    record_statistics(empty)
    row = DailyStatistics.objects.get()
    assert (row.customers, row.active_subscriptions, row.monthly_recurring_revenue) == (0, 0, {})


def test_day_costs_three_statements_however_many_customers(organization: Organization) -> None:
    apply_states(organization, *(build_full_state(number) for number in range(9)), interval=read_at(0))
    with CaptureQueriesContext(connection) as queries:
        record_statistics(organization)
    assert len(queries) == 3


def freeze(moment: str) -> Any:
    return patch("django.utils.timezone.now", return_value=datetime.fromisoformat(moment).replace(tzinfo=UTC))
