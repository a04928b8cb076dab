"""The numbers of the last days, added up over organizations, and the small lines that show them."""

from __future__ import annotations

import re
from datetime import date, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.admin.figures import get_history
from polar_sync.admin.formatting import format_number
from polar_sync.admin.plots import SPARKLINE_HEIGHT, SPARKLINE_WIDTH, describe_change, draw_sparkline
from polar_sync.models import DailyStatistics, Organization
from tests.factories import create_organization

TODAY = date(2026, 3, 31)


def note(organization: Organization, days_ago: int, customers: int, **revenue: int) -> None:
    day = timezone.localdate() - timedelta(days=days_ago)
    DailyStatistics.objects.create(
        organization=organization,
        date=day,
        customers=customers,
        active_subscriptions=customers * 2,
        monthly_recurring_revenue=revenue,
    )


def read_days() -> list[tuple[int, int, dict[str, int]]]:
    today = timezone.localdate()
    return [((today - day.date).days, day.customers, day.revenue) for day in get_history()]


@pytest.mark.django_db
def test_days_are_added_up_by_currency(organization: Organization) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    note(organization, 1, 10, usd=100, eur=5)
    note(other, 1, 3, usd=30)
    note(organization, 0, 11, usd=110)
    note(other, 0, 4, usd=40)
    assert read_days() == [(1, 13, {"usd": 130, "eur": 5}), (0, 15, {"usd": 150})]
    assert [day.active_subscriptions for day in get_history()] == [26, 30]


@pytest.mark.django_db
def test_organization_whose_run_failed_is_no_loss(organization: Organization) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    note(other, 40, 3, usd=30)
    note(organization, 2, 10, usd=100)
    note(other, 1, 4, usd=40)
    note(organization, 0, 11, usd=100)
    assert read_days() == [(2, 13, {"usd": 130}), (1, 14, {"usd": 140}), (0, 15, {"usd": 140})]


@pytest.mark.django_db
def test_only_thirty_days_are_shown_and_read_at_once(organization: Organization) -> None:
    for days_ago in (0, 29, 30, 31, 90):
        note(organization, days_ago, days_ago)
    with CaptureQueriesContext(connection) as queries:
        assert read_days() == [(29, 29, {}), (0, 0, {})]
    assert len(queries) == 1


def make_points(*values: float, gap: int = 1) -> list[tuple[date, float]]:
    return [(TODAY - timedelta(days=gap * (len(values) - number - 1)), value) for number, value in enumerate(values)]


def read_line(markup: str) -> list[tuple[float, float]]:
    found = re.search(r'polyline class="polar-spark-line" points="([^"]+)"', markup)
    assert found is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def test_line_rises_with_the_numbers_and_has_a_place_for_each_day() -> None:
    line = read_line(draw_sparkline([*make_points(5, 6), (TODAY + timedelta(days=27), 9)], write=format_number))
    (first, low), (second, middle), (last, high) = line
    assert low > middle > high
    assert all(0 <= x <= SPARKLINE_WIDTH and 0 <= y <= SPARKLINE_HEIGHT for x, y in line)
    assert (last - second) / (second - first) == pytest.approx(27, abs=0.5)


def test_small_change_looks_small_and_none_is_flat() -> None:
    (_, before), (_, after) = read_line(draw_sparkline(make_points(1000, 1001), write=format_number))
    assert 0 < before - after < SPARKLINE_HEIGHT / 20
    for value in (0, 7, -3):
        ((_, one), (_, other)) = read_line(draw_sparkline(make_points(value, value), write=format_number))
        assert one == other == SPARKLINE_HEIGHT / 2


def test_line_says_its_numbers_to_who_cannot_see_it() -> None:
    markup = draw_sparkline(make_points(1000, 900, 1200, gap=15), write=format_number)
    text = "1,000 on March 1, 1,200 on March 31; lowest 900, highest 1,200"
    assert f'role="img" viewBox="0 0 {SPARKLINE_WIDTH} {SPARKLINE_HEIGHT}" aria-label="{text}"' in markup
    assert "style=" not in markup


@pytest.mark.parametrize(
    ("values", "text"),
    [((5, 17), "+12 since March 30"), ((17, 5), "−12 since March 30"), ((5, 5), "unchanged since March 30")],
)
def test_change_is_told_in_words(values: tuple[float, float], text: str) -> None:
    assert describe_change(make_points(*values), write=format_number) == text


def test_one_day_is_no_line() -> None:
    assert draw_sparkline(make_points(5), write=format_number) == ""
    assert describe_change(make_points(5), write=format_number) == ""
