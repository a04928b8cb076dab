"""Values as people read them: text that does no harm, numbers, money, times, coloured labels."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy, npgettext

from polar_sync.admin.display_names import get_display_name

LIST_LENGTH = 48
"""Characters that a cell of a list shows of a text; the rest is in its tooltip."""
PAGE_LENGTH = 1000

NOTHING = mark_safe('<span class="polar-none">–</span>')

# Controls, and what turns the direction of the text around it. What emoji and Arabic need is not among them.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
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
# https://docs.stripe.com/currencies: amounts in the smallest unit, which of these is the unit itself or its thousandth.
_NO_DECIMALS = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split()  # noqa: SIM905 - easier to read
)
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def make_visible(text: str) -> str:
    """The text with controls and marks of direction spelled out, U+202E as `⟨202E⟩`."""
    return _HARMFUL.sub(lambda match: f"⟨{ord(match[0]):04X}⟩", text)


def escape_json(text: str) -> str:
    """JSON text with the same characters as JSON's own escapes, so that it stays the same JSON."""
    return _HARMFUL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shorten(text: str, *, length: int = LIST_LENGTH) -> str:
    """At most so many characters, the last of them an ellipsis where something is missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


def clean(value: Any, *, length: int = LIST_LENGTH) -> str:
    """Plain text for where no markup can be: titles, messages, choices."""
    return shorten(make_visible(str(value)), length=length)


def show(value: Any, *, length: int = LIST_LENGTH) -> SafeString:
    """Markup that isolates the text's direction from what stands around it; a dash for nothing."""
    if value is None or value == "":
        return NOTHING
    text = make_visible(str(value))
    if len(text) <= length:
        return format_html("<bdi>{}</bdi>", text)
    return format_html('<bdi title="{}">{}</bdi>', shorten(text, length=PAGE_LENGTH), shorten(text, length=length))


def show_name(entry: Any, entry_id: Any, *, length: int = LIST_LENGTH) -> SafeString:
    """The name of a catalogue entry; where it is not known, its id."""
    if entry is not None and entry.name:
        return show(entry.name, length=length)
    return show_id(entry_id)


def show_id(polar_id: Any) -> SafeString:
    """An id: whole in the page, where the style sheet cuts it and the script adds a button that copies it."""
    return NOTHING if polar_id is None else format_html('<code class="polar-id" title="{0}">{0}</code>', polar_id)


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


def format_seconds(seconds: float) -> str:
    """Whole minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return _("%(seconds)s s") % {"seconds": rest}
    return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}


def format_elapsed(elapsed: timedelta) -> str:
    """Minutes and seconds, from an hour on hours and minutes."""
    if elapsed < timedelta(hours=1):
        return format_seconds(elapsed.total_seconds())
    hours, minutes = divmod(elapsed // timedelta(minutes=1), 60)
    return _("%(hours)s h %(minutes)s min") % {"hours": format_number(hours), "minutes": minutes}


def format_lag(lag: timedelta) -> str:
    """How much later, with tenths of a second where they matter. Below zero where two clocks differ by more."""
    if abs(lag) >= timedelta(seconds=10):
        return ("-" if lag < timedelta() else "") + format_elapsed(abs(lag))
    return _("%(seconds)s s") % {"seconds": number_format(round(lag.total_seconds(), 1), decimal_pos=1)}


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


def format_money(amount: float | None, currency: str | None) -> str:
    """An amount in the currency's smallest unit as `1,234.50 USD`; a dash for none."""
    if amount is None:
        return "–"
    code = (currency or "").lower()
    decimals = 0 if code in _NO_DECIMALS else 3 if code in _THREE_DECIMALS else 2
    if isinstance(amount, int):
        whole, rest = divmod(abs(amount), 10**decimals)
        text = f"{'-' if amount < 0 else ''}{whole}" + (f".{rest:0{decimals}d}" if decimals else "")
    else:
        text = f"{amount / 10**decimals:.{decimals}f}"
    number = number_format(text, decimal_pos=decimals, force_grouping=True)
    return f"{number} {clean(code.upper(), length=12)}".strip()


def format_interval(interval: str, count: int | None) -> str:
    """`per month`, or `every 3 months` where an interval of the product's has several; a new interval as it is."""
    number = count or 1
    if number <= 1:
        named = {"day": _("per day"), "week": _("per week"), "month": _("per month"), "year": _("per year")}
        return named.get(interval, _("per %(interval)s") % {"interval": interval})
    texts = {
        "day": ngettext("every %(number)s day", "every %(number)s days", number),
        "week": ngettext("every %(number)s week", "every %(number)s weeks", number),
        "month": ngettext("every %(number)s month", "every %(number)s months", number),
        "year": ngettext("every %(number)s year", "every %(number)s years", number),
    }
    text = texts.get(interval, _("every %(number)s × %(interval)s"))
    return text % {"number": format_number(number), "interval": interval}


def name_customers(number: int) -> str:
    """Living ones."""
    return npgettext("below a number", "customer", "customers", number)


def name_active_subscriptions(number: int) -> str:
    """Without trialing ones."""
    return npgettext("below a number", "active subscription", "active subscriptions", number)


def name_trialing_subscriptions(number: int) -> str:
    """Those that pay nothing yet."""
    return npgettext("below a number", "trialing subscription", "trialing subscriptions", number)


def name_granted_benefits(number: int) -> str:
    """Of all customers."""
    return npgettext("below a number", "granted benefit", "granted benefits", number)


def name_meters_below_zero(number: int) -> str:
    """Customers' meters, not definitions."""
    return npgettext("below a number", "meter below zero", "meters below zero", number)
