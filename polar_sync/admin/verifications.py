"""What the last verification of an organization found, in words."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from polar_sync.admin.labels import format_number, show_label, show_time
from polar_sync.admin.text import NOTHING, PAGE_LENGTH, show
from polar_sync.models import Organization, Verification


def show_verification(organization: Organization) -> SafeString:
    """How many customers differed from Polar, and when that was seen."""
    verification = get_verification(organization)
    if verification is None:
        return NOTHING
    return format_html(
        '{} {} <span class="polar-quiet">· {}</span>',
        _show_result(verification),
        _describe(verification),
        show_time(verification.finished_at),
    )


def _show_result(verification: Verification) -> SafeString:
    if not verification.checked:
        return show_label(_("Nobody to compare"))
    if verification.differing > verification.repaired:
        return show_label(_("Differs"), tone="bad")
    if verification.failed:
        return show_label(pgettext("result of a verification", "Incomplete"), tone="warn")
    return show_label(_("Equal"), tone="good")


def _describe(verification: Verification) -> str:
    numbers = {
        "differing": format_number(verification.differing),
        "checked": format_number(verification.checked),
        "repaired": format_number(verification.repaired),
        "failed": format_number(verification.failed),
    }
    text = ngettext(
        "%(differing)s of %(checked)s customer differed",
        "%(differing)s of %(checked)s customers differed",
        verification.checked,
    )
    parts = [text % numbers]
    if verification.repaired:
        parts.append(ngettext("%(repaired)s repaired", "%(repaired)s repaired", verification.repaired) % numbers)
    if verification.failed:
        text = ngettext(
            "%(failed)s could not be asked about", "%(failed)s could not be asked about", verification.failed
        )
        parts.append(text % numbers)
    return ", ".join(parts)


def show_examples(organization: Organization) -> SafeString:
    """Some of what differed."""
    verification = get_verification(organization)
    if verification is None or not verification.examples:
        return NOTHING
    rows = ((show(text, length=PAGE_LENGTH),) for text in verification.examples)
    return format_html('<ul class="polar-plain-list">{}</ul>', format_html_join("", "<li>{}</li>", rows))


def get_verification(organization: Organization) -> Verification | None:
    """The last one, where there ever was any."""
    found: Verification | None = getattr(organization, "verification", None)
    return found
