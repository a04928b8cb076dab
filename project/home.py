"""The example project's first page: what the mirror holds, and where it can be seen."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from polar_sync.admin import formatting
from polar_sync.admin.base import MayView, may_view
from polar_sync.admin.delivery_figures import count_deliveries
from polar_sync.admin.figures import Figures, get_figures
from polar_sync.admin.formatting import clean, format_number, show_time
from polar_sync.admin.notices import describe_last_success, find_notices
from polar_sync.models import Customer, Organization, Subscription, SyncRun

SITE = "admin"


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Figures and names only for staff who may view them; for everybody else, what is here and how to sign in."""
    user: Any = request.user
    is_staff = user.is_active and user.is_staff
    may = partial(may_view, user)
    context = {"is_staff": is_staff, **(describe_mirror(may=may) if is_staff else {})}
    return render(request, "home.html", context)


def describe_mirror(*, may: MayView) -> dict[str, Any]:
    """What there is to be shown, and links to where there is more of it."""
    figures = get_figures()
    found: dict[str, Any] = {"cards": list_cards(figures, may=may), "places": list_places(may=may)}
    if may("syncrun"):
        organizations = list(Organization.objects.select_related("verification", "webhook_feed"))
        counts = count_deliveries() if may("webhookdelivery") else {}
        found["notices"] = find_notices(
            organizations, answered=figures.answered, counts=counts, site_name=SITE, may=may
        )
        found["last_success"] = describe_last_success(organizations)
        found["run"] = describe_last_run()
    return found


def list_cards(figures: Figures, *, may: MayView) -> list[tuple[str, str, str]]:
    """Numbers, what they count, and where that is to be seen."""
    active = figures.subscriptions.get("active", 0)
    cards = (
        ("customer", figures.customers, formatting.name_customers, "deleted=no"),
        ("subscription", active, formatting.name_active_subscriptions, "status=active"),
        ("benefitgrant", figures.granted, formatting.name_granted_benefits, ""),
        ("meter", figures.below_zero, formatting.name_meters_below_zero, "balance=below"),
    )
    return [
        (format_number(number), name(number), f"{link_list(model)}?{query}")
        for model, number, name, query in cards
        if may(model)
    ]


def list_places(*, may: MayView) -> list[tuple[str, str, str]]:
    """Pages with their titles and what is on them."""
    places = [(reverse("admin:app_list", args=("polar_sync",)), _("Overview"), _("Figures, plots, freshness and runs"))]
    if may("customer"):
        about = _("Search by name, email or any of Polar's ids; filter; export")
        places += [(link_list("customer"), _("All customers"), about), *list_places_of_customer(find_customer())]
        about = _("The same as JSON, in the shapes of Polar's own API")
        places.append((reverse("polar_sync_rest:customers"), _("Customers by REST"), about))
    if may("subscription"):
        about = _("Who has which product, in which status, until when")
        places.append((link_list("subscription"), _("Subscriptions"), about))
    if may("meter"):
        about = _("Consumed against credited units, and balances")
        places.append((link_list("meter"), _("Meters"), about))
    if may("syncrun"):
        about = _("What each run listed, changed and could not mirror")
        places.append((link_list("syncrun"), _("Runs"), about))
    return places


def list_places_of_customer(customer: Customer | None) -> list[tuple[str, str, str]]:
    """One customer's page, and its state by REST; none where nothing is mirrored."""
    if customer is None:
        return []
    page = reverse("admin:polar_sync_customer_change", args=(customer.pk,))
    state = reverse("polar_sync_rest:customer-state", args=(customer.pk,))
    return [
        (page, clean(customer), _("One customer: what they have, hold and owe, and how we know")),
        (state, _("The state of that customer"), _("Field for field what Polar's state endpoint answers")),
    ]


def find_customer() -> Customer | None:
    """One to look at: of the latest subscription, else the latest."""
    latest = Subscription.objects.present().select_related("customer").order_by("-created_at", "-pk").first()
    return latest.customer if latest is not None else Customer.objects.order_by("-created_at", "-pk").first()


def describe_last_run() -> dict[str, Any] | None:
    """The run that began last."""
    run = SyncRun.objects.select_related("organization").order_by("-pk").first()
    if run is None:
        return None
    return {
        "number": run.pk,
        "url": reverse("admin:polar_sync_syncrun_change", args=(run.pk,)),
        "status": run.get_status_display(),
        "started": show_time(run.started_at),
        "customers": ngettext("%(number)s customer", "%(number)s customers", run.listed)
        % {"number": format_number(run.listed)},
        "requests": ngettext("%(number)s request", "%(number)s requests", run.requests)
        % {"number": format_number(run.requests)},
    }


def link_list(model: str) -> str:
    """The list of a model in the admin."""
    return reverse(f"admin:polar_sync_{model}_changelist")
