"""The card on top of a customer's page: who, what they have now, what they hold or owe, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from polar_sync.admin.dashboards import get_dashboard_url
from polar_sync.admin.inlines import show_balance, show_ends, show_price
from polar_sync.admin.labels import format_number, show_label, show_observed, show_time
from polar_sync.admin.plots import show_meter_bar
from polar_sync.admin.text import PAGE_LENGTH, clean, show, show_name
from polar_sync.admin.users import find_user, get_user_url
from polar_sync.models import Customer

SHOWN = 12


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
    user = find_user(customer)
    may_view_user = user is not None and _may_view(request, user)
    return {
        "name": show(str(customer), length=200),
        "email": show(customer.email, length=PAGE_LENGTH),
        "is_verified": bool(customer.email and customer.email_verified),
        "external_id": show(customer.external_id, length=200),
        "type": show(customer.type, length=40),
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
                "status": show_label(one.status or "–"),
                "price": show_price(one),
                "since": show_time(one.started_at),
                "ends": show_ends(one) if one.ends_at or one.cancel_at_period_end else None,
            }
            for one in subscriptions[:SHOWN]
        ],
        "more_subscriptions": max(len(subscriptions) - SHOWN, 0),
        "meters": [
            {
                "name": show_name(one.meter, one.meter_id),
                "bar": show_meter_bar(one.consumed_units, one.credited_units),
                "consumed": format_number(one.consumed_units),
                "credited": format_number(one.credited_units),
                "balance": show_balance(one),
            }
            for one in meters[:SHOWN]
        ],
        "more_meters": max(len(meters) - SHOWN, 0),
        "benefits": [
            {"name": show_name(one.benefit, one.benefit_id), "type": show_label(one.benefit_type or "–")}
            for one in list(customer.benefit_grants.all())[:SHOWN]
        ],
        "more_benefits": max(len(customer.benefit_grants.all()) - SHOWN, 0),
        "observed": _describe_observation(customer, site_name=site_name),
    }


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
