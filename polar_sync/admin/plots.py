"""Plots and small lines as SVG made here: geometry in Python, colours in the style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from polar_sync.admin.figures import SHOWN_DAYS
from polar_sync.admin.formatting import NOTHING, format_number

BAR_WIDTH = 96
WIDTH, HEIGHT = 560, 220
RIGHT, TOP, BOTTOM = 8, 10, 26
MAX_TICKS = 4
MAX_X_LABELS = 6
LETTER_WIDTH = 10.0
"""At the size that labels have on a phone, so that none is cut off at an edge."""
SPARKLINE_WIDTH, SPARKLINE_HEIGHT, SPARKLINE_MARGIN = 160, 36, 4
FEWEST_POINTS = 2
_LEAST_SHARE = 0.1
"""The least part of the highest value that the whole height stands for, so that a small change looks small."""


def show_meter_bar(consumed: float | None, credited: float | None) -> SafeString:
    """A small bar of consumed against credited units; what goes over the credit is in another colour."""
    used, granted = max(consumed or 0.0, 0.0), max(credited or 0.0, 0.0)
    if not used and not granted:
        return NOTHING
    whole = max(used, granted) or 1.0
    inside, over = BAR_WIDTH * (min(used, granted) / whole), BAR_WIDTH * (max(used - granted, 0.0) / whole)
    return format_html(
        '<svg class="polar-bar" role="img" viewBox="0 0 {} 10" width="{}" height="10" aria-label="{}">'
        '<rect class="polar-bar-ground" width="{}" height="10" rx="2"/>'
        '<rect class="polar-bar-used" width="{}" height="10" rx="2"/>'
        '<rect class="polar-bar-over" x="{}" width="{}" height="10" rx="2"/></svg>',
        BAR_WIDTH,
        BAR_WIDTH,
        _("%(consumed)s of %(credited)s") % {"consumed": format_number(consumed), "credited": format_number(credited)},
        BAR_WIDTH,
        f"{inside:.1f}",
        f"{inside:.1f}",
        f"{over:.1f}",
    )


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a plot: its name, the class of its colour (a, b), and a number for each label."""

    name: str
    tone: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Column:
    """A bar that stands; `title` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis; `anchor` is the part of its text that stands at the position."""

    position: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar that lies; `length` is in per cent, 0 for values that no bar can show."""

    name: str
    tone: str
    length: float
    text: str


def draw_columns(title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Standing bars side by side for each label, with a table of the numbers behind them."""
    top = _get_round_top(max((value for one in series for value in one.values), default=0.0))
    floor, scale = HEIGHT - BOTTOM, (HEIGHT - TOP - BOTTOM) / top
    y_ticks = [Tick(round(floor - value * scale, 1), format_number(value)) for value in _get_steps(top)]
    left = round(max(len(tick.text) for tick in y_ticks) * LETTER_WIDTH + 10)
    step = (WIDTH - left - RIGHT) / max(len(labels), 1)
    width = step * 0.8 / max(len(series), 1)
    columns = [
        Column(
            x=round(left + number * step + step * 0.1 + place * width, 1),
            y=round(floor - value * scale, 1),
            width=round(max(width - 0.5, 0.5), 1),
            height=round(value * scale, 1),
            tone=one.tone,
            title=f"{label}, {one.name}: {format_number(value)}",
        )
        for place, one in enumerate(series)
        for number, (label, value) in enumerate(zip(labels, one.values, strict=True))
        if value > 0
    ]
    every = max(1, math.ceil(len(labels) / MAX_X_LABELS))
    context = {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "left": left,
        "right": WIDTH - RIGHT,
        "floor": floor,
        "label_y": HEIGHT - 8,
        "columns": columns,
        "series": series,
        "x_ticks": [_make_x_tick(left + (n + 0.5) * step, labels[n]) for n in range(0, len(labels), every)],
        "y_ticks": y_ticks,
        "rows": [(label, [format_number(one.values[number]) for one in series]) for number, label in enumerate(labels)],
    }
    return render_to_string("polar_sync/admin/columns.html", context)


def _make_x_tick(position: float, text: str) -> Tick:
    """Below its column, as far as the edges leave room for the text."""
    half = len(text) * LETTER_WIDTH / 2
    if position + half > WIDTH:
        return Tick(WIDTH, text, "end")
    return Tick(round(position, 1), text) if position >= half else Tick(0, text, "start")


def draw_bars(title: str, names: Sequence[str], series: Sequence[Series]) -> str:
    """A table: for each name a bar and the number of each series, each name on a scale of its own."""
    lines = []
    for number, name in enumerate(names):
        whole = max((one.values[number] for one in series), default=0.0)
        bars = [
            Bar(
                one.name,
                one.tone,
                round(max(one.values[number], 0.0) / whole * 100, 1) if whole > 0 else 0.0,
                format_number(one.values[number]),
            )
            for one in series
        ]
        lines.append((name, bars))
    return render_to_string("polar_sync/admin/bars.html", {"title": title, "lines": lines})


def _get_round_top(highest: float) -> float:
    """The end of an axis: a round number not below the highest value."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(factor * power for factor in (1, 2, 2.5, 4, 5, 8, 10, 20) if factor * power >= highest)


def _get_steps(top: float) -> list[float]:
    """Whole numbers where the axis allows it: half a customer is none."""
    parts = next((parts for parts in (4, 5, 2, 3) if (top / parts).is_integer()), MAX_TICKS if top > MAX_TICKS else 1)
    return [top * number / parts for number in range(parts + 1)]


def draw_sparkline(points: Sequence[tuple[date, float]], *, write: Callable[[float], str]) -> SafeString:
    """The values by day, the last at the end; nothing for a single one. `write` makes a value's text."""
    if len(points) < FEWEST_POINTS:
        return SafeString("")
    places = _place(points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{SPARKLINE_HEIGHT} {line} {places[-1][0]:.1f},{SPARKLINE_HEIGHT}"
    return format_html(
        '<svg class="polar-spark" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title>'
        '<polygon class="polar-spark-area" points="{}"/><polyline class="polar-spark-line" points="{}"/>'
        '<circle class="polar-a" cx="{}" cy="{}" r="2.5"/></svg>',
        SPARKLINE_WIDTH,
        SPARKLINE_HEIGHT,
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
    step = (SPARKLINE_WIDTH - 2 * SPARKLINE_MARGIN) / (SHOWN_DAYS - 1)
    return [
        (
            SPARKLINE_WIDTH - SPARKLINE_MARGIN - (last - day).days * step,
            SPARKLINE_HEIGHT / 2 - (value - middle) / height * (SPARKLINE_HEIGHT - 2 * SPARKLINE_MARGIN),
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
