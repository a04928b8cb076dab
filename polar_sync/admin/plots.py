"""Plots as SVG made here: geometry in Python, colours in the style sheet, nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from polar_sync.admin.labels import format_number
from polar_sync.admin.text import NOTHING

BAR_WIDTH = 96
WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 26
MAX_TICKS = 4
MAX_X_LABELS = 8
ROW = 40
NAME_WIDTH = 190


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
    """A mark on an axis."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A pair of lying bars with the name before them; `length`s are 0 for values that no bar can show."""

    name: str
    y: float
    bars: Sequence[tuple[str, float, float, str]]


def draw_columns(title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Standing bars side by side for each label, with a table of the numbers behind them."""
    top = _get_round_top(max((value for one in series for value in one.values), default=0.0))
    step = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    width = step * 0.8 / max(len(series), 1)
    floor, scale = HEIGHT - BOTTOM, (HEIGHT - TOP - BOTTOM) / top
    columns = [
        Column(
            x=round(LEFT + number * step + step * 0.1 + place * width, 1),
            y=round(floor - value * scale, 1),
            width=round(max(width - 0.5, 0.5), 1),
            height=round(value * scale, 1),
            tone=one.tone,
            title=f"{label}: {format_number(value)} {one.name}",
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
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "floor": floor,
        "label_y": HEIGHT - 8,
        "columns": columns,
        "series": series,
        "x_ticks": [Tick(round(LEFT + (n + 0.5) * step, 1), labels[n]) for n in range(0, len(labels), every)],
        "y_ticks": [Tick(round(floor - value * scale, 1), format_number(value)) for value in _get_steps(top)],
        "rows": [(label, [format_number(one.values[number]) for one in series]) for number, label in enumerate(labels)],
    }
    return render_to_string("polar_sync/admin/columns.html", context)


def draw_lines(title: str, names: Sequence[str], series: Sequence[Series]) -> str:
    """Lying bars one below the other for each name, each name on a scale of its own, with a table behind them."""
    room = WIDTH - NAME_WIDTH - 110
    lines = []
    for number, name in enumerate(names):
        whole = max((one.values[number] for one in series), default=0.0)
        bars = [
            (
                one.tone,
                round(number * ROW + 6 + place * 14, 1),
                round(max(one.values[number], 0.0) / whole * room, 1) if whole > 0 else 0.0,
                format_number(one.values[number]),
            )
            for place, one in enumerate(series)
        ]
        lines.append(Line(name, number * ROW + 22, bars))
    context = {
        "title": title,
        "width": WIDTH,
        "height": max(len(names), 1) * ROW,
        "left": NAME_WIDTH,
        "lines": lines,
        "series": series,
        "rows": [(name, [format_number(one.values[number]) for one in series]) for number, name in enumerate(names)],
    }
    return render_to_string("polar_sync/admin/lines.html", context)


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
