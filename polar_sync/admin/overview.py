"""The overview at the top of the app's index, for those who may see what it tells of."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _

from polar_sync.admin.base import SYNC_PERMISSION
from polar_sync.admin.figures import Figures, get_figures
from polar_sync.admin.labels import format_number, format_share, show_code, show_time
from polar_sync.admin.money import format_money
from polar_sync.admin.plots import Series, draw_columns, draw_lines
from polar_sync.admin.run_page import format_duration, get_share, show_reason
from polar_sync.admin.text import clean, show
from polar_sync.admin.verifications import show_verification
from polar_sync.models import Organization, SyncRun

SHOWN_RUNS = 5
_FORMATS = {"hour": "j N H:i", "day": "j N Y", "month": "M Y", "year": "Y"}


def build_overview(request: HttpRequest, *, site_name: str) -> dict[str, Any]:
    """What the overview's template shows; without what this person may not view."""
    user: Any = request.user
    context: dict[str, Any] = {"may_sync": user.has_perm(SYNC_PERMISSION)}
    if user.has_perm("polar_sync.view_customer"):
        figures = get_figures()
        context |= {
            "figures": _describe_figures(figures, site_name=site_name),
            "as_of": show_time(figures.as_of),
            "plots": [_plot_growth(figures), _plot_meters(figures)],
        }
    if user.has_perm("polar_sync.view_syncrun"):
        context["runs"] = _describe_runs(site_name=site_name)
    if user.has_perm("polar_sync.view_organization"):
        context["organizations"] = _describe_organizations(site_name=site_name)
    return context


def _describe_figures(figures: Figures, *, site_name: str) -> dict[str, Any]:
    customers, subscriptions, meters = (
        reverse(f"{site_name}:polar_sync_{name}_changelist") for name in ("customer", "subscription", "meter")
    )
    names = {"hour": _("last hour"), "day": _("last day"), "week": _("last week")}
    return {
        "cards": [
            (_("customers"), format_number(figures.customers), f"{customers}?deleted=no"),
            (
                _("active subscriptions"),
                format_number(figures.subscriptions.get("active", 0)),
                f"{subscriptions}?status=active",
            ),
            (
                _("trialing subscriptions"),
                format_number(figures.subscriptions.get("trialing", 0)),
                f"{subscriptions}?status=trialing",
            ),
            (_("meters below zero"), format_number(figures.below_zero), f"{meters}?balance=below"),
        ],
        "revenue": [format_money(amount, currency) for currency, amount in figures.revenue.items()],
        "uncounted": figures.uncounted,
        "grants": [
            (show_code(kind), format_number(number), f"{customers}?{_encode(benefit_type=kind)}")
            for kind, number in figures.grants.items()
        ],
        "fresh": [
            (names[name], number / figures.customers, format_share(number / figures.customers), format_number(number))
            for name, number in figures.fresh.items()
            if figures.customers
        ],
        "stale_url": f"{customers}?observed=stale",
    }


def _encode(**parameters: str) -> str:
    return urlencode(parameters, errors="replace")


def _plot_growth(figures: Figures) -> str:
    growth = figures.growth
    labels = [_format_period(start, growth.unit) for start in growth.starts]
    title = _("Customers and present subscriptions by the time they started")
    return draw_columns(
        title,
        labels,
        [
            Series(_("customers"), "a", growth.customers),
            Series(_("subscriptions"), "b", growth.subscriptions),
        ],
    )


def _plot_meters(figures: Figures) -> str:
    meters = figures.meters
    return draw_lines(
        _("Meters: units consumed against credited, of all customers, as of now; each on a scale of its own"),
        [clean(meter.name, length=28) for meter in meters],
        [
            Series(_("consumed"), "a", [meter.consumed for meter in meters]),
            Series(_("credited"), "b", [meter.credited for meter in meters]),
        ],
    )


def _format_period(start: datetime, unit: str) -> str:
    return date_format(timezone.localtime(start), _FORMATS[unit])


def _describe_runs(*, site_name: str) -> list[dict[str, Any]]:
    runs = SyncRun.objects.select_related("organization").order_by("-pk")[:SHOWN_RUNS]
    return [
        {
            "number": run.pk,
            "url": reverse(f"{site_name}:polar_sync_syncrun_change", args=(run.pk,)),
            "organization": show(run.organization),
            "status": format_html("{} {}", show_code(run.status), show_reason(run)),
            "share": get_share(run),
            "listed": format_number(run.listed),
            "failed": format_number(run.failed),
            "requests": format_number(run.requests),
            "started": show_time(run.started_at),
            "duration": format_duration(run),
        }
        for run in runs
    ]


def _describe_organizations(*, site_name: str) -> list[dict[str, Any]]:
    return [
        {
            "name": show(organization),
            "succeeded": show_time(organization.last_succeeded_at),
            "verified": show_verification(organization),
            "sync_url": reverse(f"{site_name}:polar_sync_organization_sync", args=(organization.pk,)),
        }
        for organization in Organization.objects.select_related("verification")
    ]
