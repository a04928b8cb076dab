"""Small marks: coloured labels, ages, bars."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

from polar_sync.admin.display_names import get_display_name
from polar_sync.admin.text import NOTHING, clean

STALE_AFTER = timedelta(days=1)
"""A customer that was not observed for so long is called stale."""
BELOW_ZERO = -0.005
"""The number nearest to zero that `format_number` shows with a sign."""

# Whole sentences, not Django's own `timesince` with a word of ours around it: a language is there whole or not at all.
_AGES: tuple[tuple[timedelta, Any, Any], ...] = (
    (
        timedelta(days=365.2425),
        ngettext_lazy("%(number)d year ago", "%(number)d years ago", "number"),
        ngettext_lazy("in %(number)d year", "in %(number)d years", "number"),
    ),
    (
        timedelta(days=365.2425 / 12),
        ngettext_lazy("%(number)d month ago", "%(number)d months ago", "number"),
        ngettext_lazy("in %(number)d month", "in %(number)d months", "number"),
    ),
    (
        timedelta(weeks=1),
        ngettext_lazy("%(number)d week ago", "%(number)d weeks ago", "number"),
        ngettext_lazy("in %(number)d week", "in %(number)d weeks", "number"),
    ),
    (
        timedelta(days=1),
        ngettext_lazy("%(number)d day ago", "%(number)d days ago", "number"),
        ngettext_lazy("in %(number)d day", "in %(number)d days", "number"),
    ),
    (
        timedelta(hours=1),
        ngettext_lazy("%(number)d hour ago", "%(number)d hours ago", "number"),
        ngettext_lazy("in %(number)d hour", "in %(number)d hours", "number"),
    ),
    (
        timedelta(minutes=1),
        ngettext_lazy("%(number)d minute ago", "%(number)d minutes ago", "number"),
        ngettext_lazy("in %(number)d minute", "in %(number)d minutes", "number"),
    ),
)

_TONES = {
    "active": "good",
    "succeeded": "good",
    "trialing": "info",
    "running": "info",
    "past_due": "warn",
    "partial": "warn",
    "unpaid": "bad",
    "failed": "bad",
    "deleted": "bad",
}


def show_label(text: Any, *, tone: str | None = None, kind: str | None = None) -> SafeString:
    """A label in the colour of its kind (a status), or of a tone: good, info, warn, bad, plain."""
    tone = tone or _TONES.get(str(kind if kind is not None else text), "plain")
    return format_html('<span class="polar-label polar-{}">{}</span>', tone, clean(text))


def show_code(code: Any) -> SafeString:
    """A label with what people call a code, such as a status of Polar's; a dash for none."""
    return NOTHING if code is None or code == "" else show_label(get_display_name(code), kind=code)


def show_time(time: datetime | None) -> SafeString:
    """A moment, in words relative to now, with the moment itself in the tooltip."""
    if time is None:
        return NOTHING
    return format_html(
        '<time dir="auto" datetime="{}" title="{}">{}</time>', time.isoformat(), format_moment(time), format_age(time)
    )


def format_moment(time: datetime) -> str:
    """A moment in the reader's own form. The calendar's ends have no time zone to be moved to."""
    try:
        return date_format(timezone.localtime(time), "DATETIME_FORMAT")
    except OverflowError:
        return time.isoformat()


def format_age(time: datetime) -> str:
    """How long ago, or that it lies ahead."""
    now = timezone.now()
    if abs(now - time) < timedelta(minutes=1):
        return _("just now")
    if not _is_near(time, now):
        return format_moment(time)
    length, past, future = next(age for age in _AGES if abs(now - time) >= age[0])
    return str((future if time > now else past) % {"number": abs(now - time) // length})


def show_observed(time: datetime | None) -> SafeString:
    """When Polar was last heard of a customer, marked where that is too long ago."""
    if time is None:
        return show_label(_("Never"), tone="warn")
    if timezone.now() - time > STALE_AFTER:
        return format_html('<span class="polar-label polar-warn">{}</span>', show_time(time))
    return show_time(time)


def format_number(number: float | None) -> str:
    """Units as people read them: 1,234.5 and not 1234.500000001; very large ones with an exponent."""
    if number is None:
        return "–"
    if not math.isfinite(number) or abs(number) >= 1e15:  # noqa: PLR2004 - beyond, a float holds no units
        return f"{number:.3g}"
    rounded = round(number, 2)
    return number_format(int(rounded) if rounded == int(rounded) else rounded, force_grouping=True)


def is_below_zero(number: float | None) -> bool:
    """Whether people read it so: what is nearer to zero is rounding, and shown as zero."""
    return number is not None and number <= BELOW_ZERO


def show_number(number: float | None, *, tone: str | None = None) -> SafeString:
    """The same as markup: its sign stays before it also where text runs from right to left; as a label where toned."""
    if number is None:
        return NOTHING
    digits = format_html('<bdi dir="ltr">{}</bdi>', format_number(number))
    return digits if tone is None else format_html('<span class="polar-label polar-{}">{}</span>', tone, digits)


def format_share(share: float) -> str:
    """A share as per cent; what is not all is never called 100 %."""
    percent = math.floor(share * 1000) / 10
    return _("%(number)s %%") % {"number": number_format(percent, decimal_pos=0 if percent in {0.0, 100.0} else 1)}


def _is_near(time: datetime, now: datetime) -> bool:
    return abs(time - now) < timedelta(days=36_500)
