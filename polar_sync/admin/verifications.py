"""What the last verification of an organization found, in words."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from polar_sync.admin.labels import format_number, show_label, show_time
from polar_sync.admin.text import NOTHING, PAGE_LENGTH, show
from polar_sync.models import Organization, Verification


def show_verification(organization: Organization) -> SafeString:
    """How many customers differed from Polar, and when that was seen."""
    verification = get_verification(organization)
    if verification is None:
        return NOTHING
    numbers = {
        "differing": format_number(verification.differing),
        "checked": format_number(verification.checked),
        "repaired": format_number(verification.repaired),
        "failed": format_number(verification.failed),
    }
    text = _("%(differing)s of %(checked)s customers differed") % numbers
    if verification.repaired:
        text += _(", %(repaired)s repaired") % numbers
    if verification.failed:
        text += _(", %(failed)s could not be asked about") % numbers
    label = show_label(_("Equal"), tone="good") if verification.is_equal else show_label(_("Differs"), tone="bad")
    return format_html("{} {}, {}", label, text, show_time(verification.finished_at))


def show_examples(organization: Organization) -> SafeString:
    """Some of what differed."""
    verification = get_verification(organization)
    if verification is None or not verification.examples:
        return NOTHING
    rows = ((show(text, length=PAGE_LENGTH),) for text in verification.examples)
    return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", rows))


def get_verification(organization: Organization) -> Verification | None:
    """The last one, where there ever was any."""
    found: Verification | None = getattr(organization, "verification", None)
    return found
