"""A customer's page: the card on top, and the fields below."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from polar_sync.admin.change_lists import Count
from polar_sync.admin.columns import show_balance, show_consumption, show_ends, show_price
from polar_sync.admin.display_names import get_display_name
from polar_sync.admin.formatting import (
    NOTHING,
    PAGE_LENGTH,
    clean,
    escape_json,
    show,
    show_code,
    show_id,
    show_name,
    show_observed,
    show_time,
)
from polar_sync.models import BenefitGrant, Customer

MAX_METADATA = 5000
_DASHBOARDS = {"production": "https://polar.sh", "sandbox": "https://sandbox.polar.sh"}
SHOWN = 8


class CustomerFields:
    """Everything that is mirrored of the customer itself."""

    @admin.display(description=gettext_lazy("name"))
    def name_text(self, customer: Customer) -> SafeString:
        return show(customer.name, length=512)

    @admin.display(description=gettext_lazy("billing name"))
    def billing_name_text(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(customer.billing_name, length=1000)

    @admin.display(description=gettext_lazy("type"))
    def type_whole(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(get_display_name(customer.type) if customer.type else None, length=1000)

    @admin.display(description=gettext_lazy("locale"))
    def locale_text(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(customer.locale, length=1000)

    @admin.display(description=gettext_lazy("billing address"))
    def address(self, customer: Customer) -> SafeString:
        """Its lines, in Polar's order."""
        parts = customer.billing_address
        if not isinstance(parts, dict):
            return show(parts)
        return (
            format_html_join("", "<div>{}</div>", ((show(part, length=200),) for part in parts.values() if part))
            or NOTHING
        )

    @admin.display(description=gettext_lazy("tax id"))
    def tax(self, customer: Customer) -> SafeString:
        given = customer.tax_id
        return show(" ".join(map(str, given)) if isinstance(given, list) else given, length=200)

    @admin.display(description=gettext_lazy("metadata"))
    def metadata_text(self, customer: Customer) -> SafeString:
        text = json.dumps(customer.metadata, ensure_ascii=False, indent=1) if customer.metadata else ""
        return format_html('<pre class="polar-json">{}</pre>', escape_json(text)[:MAX_METADATA]) if text else NOTHING

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, customer: Customer) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(customer.pk)

    @admin.display(description=gettext_lazy("created"))
    def created_time(self, customer: Customer) -> SafeString:
        return show_time(customer.created_at)

    @admin.display(description=gettext_lazy("modified"))
    def modified_time(self, customer: Customer) -> SafeString:
        """On Polar: when the customer itself was last edited."""
        return show_time(customer.modified_at)

    @admin.display(description=gettext_lazy("first event"))
    def first_event_time(self, customer: Customer) -> SafeString:
        """When the customer's first event reached Polar."""
        return show_time(customer.first_user_event_at)

    @admin.display(description=gettext_lazy("default payment method"))
    def payment_method(self, customer: Customer) -> SafeString:
        """Its id on Polar."""
        return show_id(customer.default_payment_method_id)


def get_dashboard_url(server: str, customer_id: object) -> str | None:
    """The customer's page in Polar's dashboard, None on servers that are not Polar's.

    `/to/dashboard/…` is Polar's own redirect to the organization that the person has open, so that its slug, which the
    customer API does not tell, is not needed.
    """
    base = _DASHBOARDS.get(server)
    return f"{base}/to/dashboard/customers/{quote(str(customer_id))}" if base else None


def find_user(customer: Customer) -> Any | None:
    """The user, or None. Never by email: anybody can give Polar somebody else's."""
    if not customer.external_id:
        return None
    try:
        user = get_user_model()._default_manager.filter(pk=customer.external_id).first()  # noqa: SLF001 - Django's name
    except (ValueError, ValidationError, OverflowError):
        return None
    return user if user is not None and str(user.pk) == customer.external_id else None


def get_user_url(user: Any, *, site_name: str) -> str | None:
    """The user's page in the admin, None where there is none."""
    options = user._meta  # noqa: SLF001 - Django's public name for it
    try:
        return reverse(f"{site_name}:{options.app_label}_{options.model_name}_change", args=(user.pk,))
    except NoReverseMatch:
        return None


@dataclass(frozen=True, slots=True)
class Observed:
    """When and how the customer was last observed; `run` is the number of the run that last saw it."""

    state: SafeString
    own: SafeString
    absent: SafeString | None
    changed: SafeString
    run: int | None
    run_url: str | None


def summarize(customer: Customer, *, request: HttpRequest, site_name: str) -> dict[str, Any]:
    """All that the card's template shows, from what the page has fetched."""
    subscriptions, meters = list(customer.subscriptions.all()), list(customer.meters.all())
    grants = list(customer.benefit_grants.all())
    groups = _group_grants(grants)
    user = find_user(customer)
    may_view_user = user is not None and _may_view(request, user)
    return {
        "name": show(str(customer), length=200),
        "email": show(customer.email, length=PAGE_LENGTH),
        "is_verified": bool(customer.email and customer.email_verified),
        "external_id": show(customer.external_id, length=200),
        "id": show_id(customer.pk),
        "type": show(get_display_name(customer.type) if customer.type else None, length=40),
        "organization": show(customer.organization),
        "created": show_time(customer.created_at),
        "deleted": show_time(customer.deleted_at) if customer.deleted_at else None,
        "scrubbed": show_time(customer.scrubbed_at) if customer.scrubbed_at else None,
        "user": clean(user) if may_view_user else None,
        "user_url": get_user_url(user, site_name=site_name) if may_view_user else None,
        "dashboard_url": get_dashboard_url(customer.organization.server, customer.pk),
        "subscriptions": [
            {
                "product": show_name(one.product, one.product_id),
                "status": show_code(one.status),
                "price": show_price(one),
                "since": show_time(one.started_at),
                "ends": show_ends(one) if one.ends_at or one.cancel_at_period_end else None,
            }
            for one in subscriptions[:SHOWN]
        ],
        "all_subscriptions": _link_all(customer, "subscription", len(subscriptions), SHOWN, site_name=site_name),
        "meters": [
            {
                "name": show_name(one.meter, one.meter_id),
                "consumption": show_consumption(one.consumed_units, one.credited_units),
                "balance": show_balance(one),
            }
            for one in meters[:SHOWN]
        ],
        "all_meters": _link_all(customer, "meter", len(meters), SHOWN, site_name=site_name),
        "benefits": groups[:SHOWN],
        "all_benefits": _link_all(
            customer, "benefitgrant", len(grants), sum(group["number"] for group in groups[:SHOWN]), site_name=site_name
        ),
        "observed": _describe_observation(customer, site_name=site_name),
    }


def _group_grants(grants: list[BenefitGrant]) -> list[dict[str, Any]]:
    """Equal grants as one with their number, the most numerous first."""
    groups: dict[Any, dict[str, Any]] = {}
    for grant in grants:
        key = (grant.benefit_id, grant.benefit_type)
        if key not in groups:
            name, kind = show_name(grant.benefit, grant.benefit_id), show_code(grant.benefit_type)
            groups[key] = {"name": name, "type": kind, "number": Count(0)}
        groups[key]["number"] = Count(groups[key]["number"] + 1)
    return sorted(groups.values(), key=lambda group: -group["number"])


def _link_all(customer: Customer, model: str, number: int, shown: int, *, site_name: str) -> dict[str, Any] | None:
    """Where all of them are listed, where the card shows only some."""
    if shown >= number:
        return None
    return {"number": Count(number), "url": get_list_url(customer, model, site_name=site_name)}


def get_list_url(customer: Customer, model: str, *, site_name: str) -> str:
    """The list of a kind of what customers have, searched for those of this one."""
    return f"{reverse(f'{site_name}:polar_sync_{model}_changelist')}?{urlencode({'q': str(customer.pk)})}"


def _describe_observation(customer: Customer, *, site_name: str) -> Observed:
    row = getattr(customer, "observation", None)
    run = row.seen_by_run if row is not None else None
    return Observed(
        state=show_observed(row.state_observed_at if row is not None else None),
        own=show_time(row.observed_at if row is not None else None),
        absent=show_time(row.absent_at) if row is not None and row.absent_at else None,
        changed=show_time(customer.synced_at),
        run=run,
        run_url=reverse(f"{site_name}:polar_sync_syncrun_change", args=(run,)) if run else None,
    )


def _may_view(request: HttpRequest, user: Any) -> bool:
    options = user._meta  # noqa: SLF001 - Django's public name for it
    names = (f"{options.app_label}.{verb}_{options.model_name}" for verb in ("view", "change"))
    return any(request.user.has_perm(name) for name in names)
