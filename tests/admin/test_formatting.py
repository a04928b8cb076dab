"""Small marks, amounts and plots, as people read them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.template import Context, Template
from django.utils import timezone, translation

from polar_sync.admin.change_lists import AtLeast, Count
from polar_sync.admin.display_names import (
    BENEFIT_TYPES,
    CUSTOMER_TYPES,
    RUN_STATUSES,
    SUBSCRIPTION_STATUSES,
    get_display_name,
)
from polar_sync.admin.formatting import (
    NOTHING,
    format_age,
    format_interval,
    format_money,
    format_number,
    format_share,
    is_below_zero,
    show_code,
    show_number,
    show_observed,
    show_time,
)
from polar_sync.admin.plots import Series, draw_bars, draw_columns, show_meter_bar
from polar_sync.models import SyncRun


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123456, "usd", "1,234.56 USD"),
        (-5, "eur", "-0.05 EUR"),
        (1200, "jpy", "1,200 JPY"),
        (12345, "kwd", "12.345 KWD"),
        (2**63 - 1, "usd", "92,233,720,368,547,758.07 USD"),
        (1234.4, "usd", "12.34 USD"),
        (0, "usd", "0.00 USD"),
        (100, None, "1.00"),
        (None, "usd", "–"),
    ],
)
def test_amounts_are_read_in_their_currency(amount: float | None, currency: str | None, text: str) -> None:
    assert format_money(amount, currency) == text


def test_amounts_and_numbers_follow_the_language() -> None:
    with translation.override("de"):
        assert format_money(123456, "eur") == "1.234,56 EUR"
        assert format_number(1234.5) == "1.234,5"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1 + 0.2, "0.3"), (12.0, "12"), (-1234567.891, "-1,234,567.89"), (1e308, "1e+308"), (None, "–"), (-0.0, "0")],
)
def test_units_are_rounded_for_people(number: float | None, text: str) -> None:
    assert format_number(number) == text


@pytest.mark.parametrize(
    ("interval", "count", "text"),
    [
        ("month", None, "per month"),
        ("month", 0, "per month"),
        ("year", 1, "per year"),
        ("month", 3, "every 3 months"),
        ("day", 1000, "every 1,000 days"),
        ("week", 2, "every 2 weeks"),
        ("fortnight", 1, "per fortnight"),
        ("fortnight", 2, "every 2 × fortnight"),
    ],
)
def test_intervals_are_counted(interval: str, count: int | None, text: str) -> None:
    assert format_interval(interval, count) == text


@pytest.mark.parametrize("number", [None, 0, -1e-9, -0.004, -0.005, -0.0050001, -0.01, -5, 3, float("-inf")])
def test_below_zero_is_what_is_shown_with_a_sign(number: float | None) -> None:
    assert is_below_zero(number) == format_number(number).startswith("-")


@pytest.mark.parametrize(("share", "text"), [(0.0, "0 %"), (0.5, "50.0 %"), (0.99999, "99.9 %"), (1.0, "100 %")])
def test_nearly_all_is_not_called_all(share: float, text: str) -> None:
    assert format_share(share) == text


def test_codes_are_labels_with_names() -> None:
    assert show_code("active") == '<span class="polar-label polar-good">Active</span>'
    assert show_code("past_due") == '<span class="polar-label polar-warn">Past due</span>'
    assert show_code("invented_tomorrow") == '<span class="polar-label polar-plain">Invented tomorrow</span>'
    assert "&lt;b&gt;" in show_code("<b>")
    assert show_code(None) == show_code("") == NOTHING


@pytest.mark.parametrize(
    ("schema", "names"),
    [("SubscriptionStatus", SUBSCRIPTION_STATUSES), ("BenefitType", BENEFIT_TYPES), ("CustomerType", CUSTOMER_TYPES)],
)
def test_every_code_of_polar_has_a_name(shared_folder: Path, schema: str, names: dict[str, object]) -> None:
    contract = json.loads((shared_folder / "polar-openapi.json").read_text("utf-8"))
    assert set(names) == set(contract["components"]["schemas"][schema]["enum"])


def test_every_status_of_a_run_has_a_name() -> None:
    assert list(RUN_STATUSES) == SyncRun.Status.values


def test_unknown_codes_are_read_as_words_and_other_texts_kept() -> None:
    assert get_display_name("brand_new_thing") == "Brand new thing"
    assert get_display_name("Snake_Case <b>") == "Snake_Case <b>"
    assert get_display_name("_") == "_"


def test_signs_stand_before_their_numbers_in_every_direction() -> None:
    assert show_number(-999) == '<bdi dir="ltr">-999</bdi>'
    assert show_number(-1234.5, tone="bad") == (
        '<span class="polar-label polar-bad"><bdi dir="ltr">-1,234.5</bdi></span>'
    )
    assert show_number(None) == NOTHING


def test_times_are_told_relative_to_now() -> None:
    now = timezone.now()
    assert format_age(now) == "just now"
    assert format_age(now - timedelta(hours=3)) == "3 hours ago"
    assert format_age(now + timedelta(days=2, minutes=1)) == "in 2 days"
    assert format_age(now - timedelta(minutes=1, seconds=59)) == "1 minute ago"
    assert format_age(now - timedelta(days=800)) == "2 years ago"
    assert format_age(now + timedelta(days=40)) == "in 1 month"
    for end in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        with timezone.override("Asia/Tokyo" if end.year > 1 else "America/New_York"):
            assert "datetime=" in show_time(end)
    assert "polar-warn" in show_observed(now - timedelta(days=2))
    assert "Never" in show_observed(None)


@pytest.mark.parametrize(
    ("consumed", "credited", "used", "over"),
    [(5, 10, 48, 0), (15, 5, 32, 64), (-3, 10, 0, 0), (1e308, 1e308, 96, 0), (3, None, 0, 96)],
)
def test_bars_show_what_goes_over_the_credit(consumed: float, credited: float | None, used: float, over: float) -> None:
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([0-9.]+)"', show_meter_bar(consumed, credited))]
    assert widths == [96, used, over]


@pytest.mark.parametrize(("consumed", "credited"), [(0, 0), (None, None), (0, None), (-1, 0)])
def test_nothing_consumed_of_nothing_is_a_dash(consumed: float | None, credited: float | None) -> None:
    assert "polar-none" in show_meter_bar(consumed, credited)
    assert "<svg" not in show_meter_bar(consumed, credited)


def test_columns_are_as_high_as_their_numbers_say() -> None:
    plot = draw_columns("Title", ["May", "June"], [Series("customers", "a", [50, 100]), Series("more", "b", [0, 25])])
    heights = [
        float(height)
        for height in re.findall(r'class="polar-[ab]" x="[^"]*" y="[^"]*" width="[^"]*" height="([^"]*)"', plot)
    ]
    assert heights == [pytest.approx(92), pytest.approx(184), pytest.approx(46)]
    assert plot.count("<tr>") == 3
    assert 'role="img"' in plot
    assert "style=" not in plot


def test_lines_survive_values_that_no_bar_can_show() -> None:
    plot = draw_bars("Title", ["<b>", "far"], [Series("consumed", "a", [-1, 1e308]), Series("credited", "b", [0, 1])])
    assert "&lt;b&gt;" in plot
    assert "nan" not in plot
    assert "inf" not in plot


@pytest.mark.parametrize("language", ["de", "ar", "fr"])
def test_ages_are_of_one_language_only(language: str) -> None:
    """One message, not Django's own words for the time with ours around them."""
    with translation.override(language):
        whole = translation.ngettext("%(number)d month ago", "%(number)d months ago", 5) % {"number": 5}
        assert format_age(timezone.now() - timedelta(days=155)) == whole


def test_counts_are_grouped() -> None:
    assert str(Count(12_345)) == "12,345"
    assert Template("{{ number }}").render(Context({"number": Count(12_345)})) == "12,345"


def test_a_count_that_stopped_says_that_there_are_more() -> None:
    assert str(AtLeast(10_000)) == "10,000+"
    assert AtLeast(10_000) == 10_000
