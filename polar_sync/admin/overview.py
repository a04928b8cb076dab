"""The overview at the top of the app's index, for those who may see what it tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from polar_sync.admin import formatting
from polar_sync.admin.base import SYNC_PERMISSION, MayView, may_view
from polar_sync.admin.change_lists import bound
from polar_sync.admin.delivery_figures import COUNT_LIMIT, DeliveryCounts, count_deliveries, get_lags
from polar_sync.admin.figures import Day, Figures, get_figures, get_history
from polar_sync.admin.formatting import (
    NOTHING,
    clean,
    format_lag,
    format_money,
    format_number,
    format_share,
    show,
    show_code,
    show_time,
)
from polar_sync.admin.notices import describe_last_success, find_notices, show_verification
from polar_sync.admin.plots import Series, describe_change, draw_bars, draw_columns, draw_sparkline
from polar_sync.admin.run_page import format_duration, get_share, show_reason
from polar_sync.models import Organization, SyncRun

SHOWN_RUNS = 5
COUNTED = ("customer", "subscription", "benefitgrant", "meter")
"""The models whose rows the figures count."""
_FORMATS = {"hour": "j N H:i", "day": "j N Y", "month": "M Y", "year": "Y"}


@dataclass(frozen=True, slots=True)
class Card:
    """A number, where to see what it counts, and how it went."""

    label: str
    number: str
    url: str
    sparkline: SafeString | str = ""
    change: str = ""


@dataclass(frozen=True, slots=True)
class Revenue:
    """Monthly recurring revenue in one currency."""

    amount: str
    sparkline: SafeString
    change: str


def build_overview(request: HttpRequest, *, site_name: str) -> dict[str, Any]:
    """What the overview's template shows; without what this person may not view."""
    user: Any = request.user
    may = partial(may_view, user)
    figures = get_figures()
    organizations = list(Organization.objects.select_related("verification", "webhook_feed"))
    counts = count_deliveries() if may("webhookdelivery") else {}
    context: dict[str, Any] = {"may_sync": user.has_perm(SYNC_PERMISSION)}
    context["notices"] = find_notices(
        organizations, answered=figures.answered, counts=counts, site_name=site_name, may=may
    )
    if may("syncrun"):
        context["last_success"] = describe_last_success(organizations)
        context["runs"] = _describe_runs(site_name=site_name)
    if any(map(may, COUNTED)):
        context["figures"] = _describe_figures(figures, may=may, site_name=site_name)
        context["as_of"] = show_time(figures.as_of)
    if may("organization"):
        context["organizations"] = _describe_organizations(organizations, site_name=site_name)
    if may("webhookdelivery"):
        context["deliveries"] = _describe_deliveries(organizations, counts, site_name=site_name)
    return context


def _describe_figures(figures: Figures, *, may: MayView, site_name: str) -> dict[str, Any]:
    """Each number only for who may view what it counts."""
    urls = {name: reverse(f"{site_name}:polar_sync_{name}_changelist") for name in COUNTED}
    history = get_history() if may("customer") or may("subscription") else []
    found: dict[str, Any] = {"cards": []}
    if may("customer") or may("subscription"):
        found["growth"] = _plot_growth(figures, may=may)
    if may("customer"):
        found["cards"].append(_make_customer_card(figures, history, urls["customer"]))
        found["fresh"] = _describe_freshness(figures)
        found["stale_url"] = f"{urls['customer']}?observed=stale"
    if may("subscription"):
        found["cards"] += _make_subscription_cards(figures, history, urls["subscription"])
        found["revenue"] = [
            Revenue(format_money(amount, currency), *_show_revenue(history, currency))
            for currency, amount in figures.revenue.items()
        ]
        found["uncounted"] = figures.uncounted
    if may("benefitgrant"):
        url = urls["customer"] if may("customer") else None
        found["grants"] = [
            (show_code(kind), format_number(number), f"{url}?{_encode(benefit_type=kind)}" if url else None)
            for kind, number in figures.grants.items()
        ]
    if may("meter"):
        number = format_number(figures.below_zero)
        name = formatting.name_meters_below_zero(figures.below_zero)
        found["cards"].append(Card(name, number, f"{urls['meter']}?balance=below"))
        found["meters"] = _plot_meters(figures)
    return found


def _make_customer_card(figures: Figures, history: Sequence[Day], url: str) -> Card:
    past = _show_history((day.date, day.customers) for day in history)
    name = formatting.name_customers(figures.customers)
    return Card(name, format_number(figures.customers), f"{url}?deleted=no", *past)


def _make_subscription_cards(figures: Figures, history: Sequence[Day], url: str) -> list[Card]:
    active, trialing = (figures.subscriptions.get(status, 0) for status in ("active", "trialing"))
    past = _show_history((day.date, day.active_subscriptions) for day in history)
    return [
        Card(formatting.name_active_subscriptions(active), format_number(active), f"{url}?status=active", *past),
        Card(formatting.name_trialing_subscriptions(trialing), format_number(trialing), f"{url}?status=trialing"),
    ]


def _describe_freshness(figures: Figures) -> list[tuple[str, float, str, str]]:
    names = {"hour": _("last hour"), "day": _("last day"), "week": _("last week")}
    return [
        (names[name], number / figures.customers, format_share(number / figures.customers), format_number(number))
        for name, number in figures.fresh.items()
        if figures.customers
    ]


def _show_history(
    points: Iterable[tuple[date, float]], *, write: Callable[[float], str] = format_number
) -> tuple[SafeString, str]:
    known = list(points)
    return draw_sparkline(known, write=write), describe_change(known, write=write)


def _show_revenue(history: Sequence[Day], currency: str) -> tuple[SafeString, str]:
    """Of a currency that was there on any of these days: on the others it was nothing."""
    if not any(currency in day.revenue for day in history):
        return SafeString(""), ""
    points = ((day.date, day.revenue.get(currency, 0)) for day in history)
    return _show_history(points, write=partial(format_money, currency=currency))


def _encode(**parameters: str) -> str:
    return urlencode(parameters, errors="replace")


def _plot_growth(figures: Figures, *, may: MayView) -> str:
    growth = figures.growth
    labels = [_format_period(start, growth.unit) for start in growth.starts]
    title = _("Customers and present subscriptions by the time they started")
    series = [("customer", Series(_("customers"), "a", growth.customers))]
    series.append(("subscription", Series(_("subscriptions"), "b", growth.subscriptions)))
    return draw_columns(title, labels, [one for model, one in series if may(model)])


def _plot_meters(figures: Figures) -> str:
    meters = figures.meters
    return draw_bars(
        _("Meters: units consumed against credited, of all customers; each on a scale of its own"),
        [clean(meter.name) for meter in meters],
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


def _describe_organizations(organizations: Iterable[Organization], *, site_name: str) -> list[dict[str, Any]]:
    return [
        {
            "name": show(organization),
            "succeeded": show_time(organization.last_succeeded_at),
            "complete": show_time(organization.complete_as_of),
            "told": show_time(organization.told_until),
            "verified": show_verification(organization),
            "sync_url": reverse(f"{site_name}:polar_sync_organization_sync", args=(organization.pk,)),
        }
        for organization in organizations
    ]


def _describe_deliveries(
    organizations: Iterable[Organization], counts: Mapping[int, DeliveryCounts], *, site_name: str
) -> list[dict[str, Any]]:
    """How late they came in the last hour, how many wait and how many failed, where there are any at all."""
    lags = get_lags()
    url = reverse(f"{site_name}:polar_sync_webhookdelivery_changelist")
    found = []
    for organization in organizations:
        lag, number = lags.get(organization.pk), counts.get(organization.pk, DeliveryCounts(0, 0))
        has_any = lag is not None or number.waiting or number.failed
        if not has_any and not hasattr(organization, "webhook_feed"):
            continue
        chosen = {"organization": str(organization.polar_id)} if organization.polar_id else {}
        found.append(
            {
                "organization": show(organization),
                "median": format_lag(lag.median) if lag is not None else NOTHING,
                "high": format_lag(lag.high) if lag is not None else NOTHING,
                "waiting": bound(number.waiting, COUNT_LIMIT),
                "waiting_url": f"{url}?{_encode(status='received', **chosen)}",
                "failed": bound(number.failed, COUNT_LIMIT),
                "failed_url": f"{url}?{_encode(status='failed', **chosen)}",
            }
        )
    return found
