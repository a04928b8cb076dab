"""How often something is charged, in words."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from polar_sync.admin.labels import format_number


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
