"""Small lines of the last days, as SVG made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from polar_sync.admin.history import SHOWN_DAYS

WIDTH, HEIGHT, MARGIN = 160, 36, 4
FEWEST_POINTS = 2
_LEAST_SHARE = 0.1
"""The least part of the highest value that the whole height stands for, so that a small change looks small."""


def draw_sparkline(points: Sequence[tuple[date, float]], *, write: Callable[[float], str]) -> SafeString:
    """The values by day, the last at the end; nothing for a single one. `write` makes a value's text."""
    if len(points) < FEWEST_POINTS:
        return SafeString("")
    places = _place(points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{HEIGHT} {line} {places[-1][0]:.1f},{HEIGHT}"
    return format_html(
        '<svg class="polar-spark" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title>'
        '<polygon class="polar-spark-area" points="{}"/><polyline class="polar-spark-line" points="{}"/>'
        '<circle class="polar-a" cx="{}" cy="{}" r="2.5"/></svg>',
        WIDTH,
        HEIGHT,
        *[_describe(points, write)] * 2,
        area,
        line,
        *(f"{place:.1f}" for place in places[-1]),
    )


def describe_change(points: Sequence[tuple[date, float]], *, write: Callable[[float], str]) -> str:
    """What the last value is more or less than the first, and since when; nothing for a single one."""
    if len(points) < FEWEST_POINTS:
        return ""
    (first, before), (_last, after) = points[0], points[-1]
    since = {"date": _format_day(first), "change": write(abs(after - before))}
    if after > before:
        return _("+%(change)s since %(date)s") % since
    return _("−%(change)s since %(date)s") % since if after < before else _("unchanged since %(date)s") % since


def _place(points: Sequence[tuple[date, float]]) -> list[tuple[float, float]]:
    """A day has its place whether or not the days before it are known."""
    last = points[-1][0]
    values = [value for _day, value in points]
    top, bottom = max(values), min(values)
    height = max(top - bottom, abs(top) * _LEAST_SHARE) or 1.0
    middle = (top + bottom) / 2
    step = (WIDTH - 2 * MARGIN) / (SHOWN_DAYS - 1)
    return [
        (
            WIDTH - MARGIN - (last - day).days * step,
            HEIGHT / 2 - (value - middle) / height * (HEIGHT - 2 * MARGIN),
        )
        for day, value in points
    ]


def _describe(points: Sequence[tuple[date, float]], write: Callable[[float], str]) -> str:
    (first, before), (last, after) = points[0], points[-1]
    values = [value for _day, value in points]
    return _("%(before)s on %(first)s, %(after)s on %(last)s; lowest %(lowest)s, highest %(highest)s") % {
        "before": write(before),
        "first": _format_day(first),
        "after": write(after),
        "last": _format_day(last),
        "lowest": write(min(values)),
        "highest": write(max(values)),
    }


def _format_day(day: date) -> str:
    return date_format(day, "MONTH_DAY_FORMAT")
