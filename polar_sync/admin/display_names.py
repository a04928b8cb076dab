"""What Polar's and our own codes are called on the pages: the one place where `past_due` becomes "Past due"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

# https://polar.sh/docs/api-reference/subscriptions/get
SUBSCRIPTION_STATUSES: dict[str, str | Promise] = {
    "active": _("Active"),
    "trialing": _("Trialing"),
    "past_due": _("Past due"),
    "canceled": _("Canceled"),
    "unpaid": _("Unpaid"),
    "paused": _("Paused"),
    "incomplete": _("Incomplete"),
    "incomplete_expired": _("Incomplete, expired"),
}
# https://polar.sh/docs/api-reference/benefits/list
BENEFIT_TYPES: dict[str, str | Promise] = {
    "custom": pgettext_lazy("type of a benefit, unit of a meter", "Custom"),
    "discord": _("Discord invite"),
    "downloadables": _("File downloads"),
    "feature_flag": _("Feature flag"),
    "github_repository": _("GitHub repository access"),
    "license_keys": _("License keys"),
    "meter_credit": _("Meter credits"),
    "slack_shared_channel": _("Slack shared channel"),
}
# https://polar.sh/docs/api-reference/customers/get
CUSTOMER_TYPES: dict[str, str | Promise] = {"individual": _("Individual"), "team": _("Team")}
# https://polar.sh/docs/api-reference/meters/get
METER_UNITS: dict[str, str | Promise] = {"scalar": _("Scalar"), "token": _("Token")}
INTERVALS: dict[str, str | Promise] = {
    "day": _("Daily"),
    "week": _("Weekly"),
    "month": _("Monthly"),
    "year": _("Yearly"),
}
RUN_STATUSES: dict[str, str | Promise] = {
    "running": _("Running"),
    "succeeded": _("Succeeded"),
    "partial": _("Partial"),
    "failed": _("Failed"),
}
RUN_REASONS: dict[str, str | Promise] = {
    "customers_failed": _("Customers failed"),
    "stale": _("Many newer here than on Polar"),
    "mass_deletion": _("Too many are missing"),
    "empty_listing": _("Polar lists nobody"),
    "moving": _("Customers moved while they were listed"),
    "authentication": _("Token refused"),
    "missing_scope": _("Token lacks a scope"),
    "organization_mismatch": _("Another organization's token"),
    "budget_storage": _("Request budget unreachable"),
    "cancelled": _("Cancelled"),
    "route_not_found": _("Route not found"),
    "configuration": _("Configuration"),
    "polar_error": _("Polar's error"),
    "page_failed": _("A page failed"),
    "abandoned": _("Abandoned"),
    "error": _("Error"),
}
# What the mirror follows; Polar knows more: https://polar.sh/docs/api-reference/webhooks/endpoints/create
EVENT_TYPES = (
    *("customer.created", "customer.updated", "customer.deleted", "customer.state_changed"),
    *("subscription.created", "subscription.updated", "subscription.active", "subscription.canceled"),
    *("subscription.uncanceled", "subscription.cycled", "subscription.revoked", "subscription.past_due"),
    *("subscription.paused", "subscription.resumed"),
    *("benefit_grant.created", "benefit_grant.cycled", "benefit_grant.updated", "benefit_grant.revoked"),
    *("customer_seat.assigned", "customer_seat.claimed", "customer_seat.revoked"),
    *("member.created", "member.updated", "member.deleted", "order.paid", "order.refunded"),
    *("benefit.created", "benefit.updated", "product.created", "product.updated", "meter.created", "meter.updated"),
)
# What the history keeps of who asked for what: in English, whoever did, and shown in the reader's language.
NOTES: dict[str, str | Promise] = {
    "Refresh from Polar": _("Refresh from Polar"),
    "Sync now": _("Sync now"),
    "Resume": _("Resume"),
    "Cancel": _("Cancel"),
    "Retry failed customers": _("Retry failed customers"),
    "Process again": _("Process again"),
}
_NAMES = {
    "deleted": _("Deleted"),
    **SUBSCRIPTION_STATUSES,
    **BENEFIT_TYPES,
    **CUSTOMER_TYPES,
    **METER_UNITS,
    **INTERVALS,
    **RUN_STATUSES,
    **RUN_REASONS,
}
_CODE = re.compile("[a-z0-9]+(?:_[a-z0-9]+)*")


def get_display_name(code: Any) -> str:
    """What people call it, in their language. A code that is new on Polar is read as words, any other text kept."""
    text = str(code)
    if text in _NAMES:
        return str(_NAMES[text])
    return text.replace("_", " ").capitalize() if _CODE.fullmatch(text) else text


def list_choices(names: Mapping[str, str | Promise]) -> list[tuple[str, str]]:
    """Code and name of each, for a filter."""
    return [(code, str(name)) for code, name in names.items()]
