"""Customers: whom we mirror, and what they have."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin import filters
from polar_sync.admin.actions import CustomerActionsMixin
from polar_sync.admin.base import ReadOnlyAdmin, may_view
from polar_sync.admin.changes import ChangesMixin
from polar_sync.admin.customer_page import CustomerFields, summarize
from polar_sync.admin.delivery_columns import describe_latest
from polar_sync.admin.export import ExportAdminMixin
from polar_sync.admin.filters import get_choices
from polar_sync.admin.formatting import (
    NOTHING,
    clean,
    escape_json,
    format_number,
    show,
    show_code,
    show_name,
    show_number,
    show_observed,
    show_time,
)
from polar_sync.admin.inlines import BenefitGrantInline, MeterInline, SubscriptionInline
from polar_sync.admin.search import search_customers
from polar_sync.models import BenefitGrant, Customer, Meter, Subscription, SubscriptionMeter

SHOWN_PRODUCTS = 4
_WIDE = ("payload", "extra", "state_extra", "metadata", "billing_address", "tax_id")
MAX_JSON = 200_000
"""Characters of a state that the page shows; the download has all."""


class CustomerColumns:
    """What a row shows. The list has prefetched subscriptions with products, and annotated `grant_count`."""

    @admin.display(description=gettext_lazy("customer"), ordering="name")
    def label(self, customer: Customer) -> SafeString:
        """The name, or what else tells who it is, and the address below it."""
        marks = [show(str(customer))]
        if customer.type not in {None, "individual"}:
            marks.append(show_code(customer.type))
        if customer.deleted_at is not None:
            marks.append(show_code("deleted"))
        line = format_html_join(" ", "{}", ((mark,) for mark in marks))
        if not customer.email:
            return line
        address = self.email_mark(customer)
        return format_html(
            '{}<span class="polar-below polar-pair" title="{}">{}</span>', line, clean(customer.email), address
        )

    @admin.display(description=gettext_lazy("email"))
    def email_mark(self, customer: Customer) -> SafeString:
        """The address, marked where Polar has verified it."""
        if not customer.email_verified or not customer.email:
            return show(customer.email)
        return format_html(
            '{0} <span class="polar-verified" title="{1}">✓<span class="polar-hidden">{1}</span></span>',
            show(customer.email),
            _("verified"),
        )

    @admin.display(description=gettext_lazy("external id"), ordering="external_id")
    def external(self, customer: Customer) -> SafeString:
        return show(customer.external_id, length=20)

    @admin.display(description=gettext_lazy("organization"))
    def organization_name(self, customer: Customer) -> SafeString:
        """As the settings name it."""
        return show(customer.organization)

    @admin.display(description=gettext_lazy("subscriptions"))
    def products(self, customer: Customer) -> SafeString:
        """The names of products with the status of each subscription."""
        subscriptions = list(customer.subscriptions.all())
        lines = format_html_join(
            "",
            '<div class="polar-line">{} {}</div>',
            (
                (show_name(one.product, one.product_id, length=40), show_code(one.status))
                for one in subscriptions[:SHOWN_PRODUCTS]
            ),
        )
        hidden = len(subscriptions) - SHOWN_PRODUCTS
        if hidden > 0:
            return format_html("{}<div>{}</div>", lines, _("and %(number)s more") % {"number": format_number(hidden)})
        return lines or NOTHING

    @admin.display(description=gettext_lazy("benefits"))
    def grants(self, customer: Any) -> SafeString:
        """How many are granted."""
        return show_number(customer.grant_count or None)

    @admin.display(description=gettext_lazy("observed"))
    def observed(self, customer: Customer) -> SafeString:
        """How old what we show is."""
        if customer.deleted_at is not None:
            return show_time(customer.deleted_at)
        return show_observed(getattr(getattr(customer, "observation", None), "state_observed_at", None))

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def created(self, customer: Customer) -> SafeString:
        """When the customer came to Polar."""
        return show_time(customer.created_at)


@admin.register(Customer)
class CustomerAdmin(
    CustomerColumns, CustomerFields, CustomerActionsMixin, ChangesMixin, ExportAdminMixin, ReadOnlyAdmin
):
    """The list of customers, and each with its state."""

    list_display = (
        "label",
        "products",
        "grants",
        "observed",
        "external",
        "created",
        "organization_name",
    )
    list_filter = (
        filters.OrganizationFilter,
        filters.ActiveFilter,
        filters.StatusFilter,
        filters.ProductFilter,
        filters.BenefitTypeFilter,
        filters.TypeFilter,
        filters.CountryFilter,
        filters.DeletedFilter,
        filters.StaleFilter,
    )
    list_per_page = 50
    search_fields = ("email", "name", "external_id", "id")
    search_help_text = gettext_lazy(
        "Name, email, external id, or any id of Polar's: of a customer, a subscription, a benefit, a meter, a product."
    )
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")
    actions = ("refresh_selected", "export_customers", "export_subscriptions", "export_meters")
    inlines = (SubscriptionInline, BenefitGrantInline, MeterInline)
    change_list_template = "admin/polar_sync/customer/change_list.html"
    change_form_template = "admin/polar_sync/customer/change_form.html"
    exports = ("customers", "subscriptions", "meters")
    fieldsets = (
        (
            gettext_lazy("All fields of the customer"),
            {
                "fields": (
                    ("name_text", "billing_name_text"),
                    ("email_mark", "external"),
                    ("type_whole", "locale_text"),
                    ("address", "tax"),
                    "metadata_text",
                    ("created_time", "modified_time"),
                    ("first_event_time", "payment_method"),
                    ("polar_id", "organization_name"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """The organization only where there are several: the filters have asked which."""
        is_one = len(get_choices(request).get("organization", [])) <= 1
        return tuple(name for name in self.list_display if not (is_one and name == "organization_name"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Deleted customers included: staff ask about them too."""
        return Customer.all_objects.order_by(*self.ordering)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With what a row shows, in two statements however many rows there are."""
        changelist = super().get_changelist_instance(request)
        subscriptions = Subscription.objects.select_related("product").defer("payload").order_by("started_at", "pk")
        grants = BenefitGrant.objects.filter(customer=OuterRef("pk")).order_by().values("customer")
        changelist.result_list = (
            changelist.result_list.select_related("organization", "observation")
            .defer(*_WIDE)
            .annotate(grant_count=Coalesce(Subquery(grants.annotate(number=Count("pk")).values("number")), 0))
            .prefetch_related(Prefetch("subscriptions", subscriptions))
        )
        return changelist

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By text, or by any of Polar's ids; never a customer twice."""
        return search_customers(queryset, search_term), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The customer with all of its state, in a fixed number of statements."""
        try:
            pk = UUID(object_id)
        except ValueError:
            return None
        meters = SubscriptionMeter.objects.select_related("meter").order_by("pk")
        subscriptions = Subscription.objects.select_related("product").order_by("started_at", "pk")
        return (
            Customer.all_objects.select_related("organization", "observation")
            .prefetch_related(
                Prefetch("subscriptions", subscriptions.prefetch_related(Prefetch("meters", meters))),
                Prefetch("benefit_grants", BenefitGrant.objects.select_related("benefit").order_by("granted_at", "pk")),
                Prefetch("meters", Meter.objects.select_related("meter").order_by("pk")),
            )
            .filter(pk=pk)
            .first()
        )

    def get_urls(self) -> list[URLPattern]:
        """Beside Django's own: the state as a file."""
        view = self.admin_site.admin_view(self.state_view)
        return [path("<uuid:pk>/state.json", view, name="polar_sync_customer_state"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add the summary, the state, and what may be done."""
        customer: Customer = context["original"]
        text = format_state(customer)
        context |= self.get_changes_context(customer.pk) | {
            "polar_summary": summarize(customer, request=request, site_name=self.admin_site.name),
            "polar_state": text[:MAX_JSON],
            "polar_state_is_cut": len(text) > MAX_JSON,
            "polar_state_url": reverse(f"{self.admin_site.name}:polar_sync_customer_state", args=(customer.pk,)),
            **self.get_actions_context(request, customer),
            "polar_deliveries": describe_latest(customer, site_name=self.admin_site.name)
            if may_view(request.user, "webhookdelivery")
            else None,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def state_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """The whole state, as Polar would answer it, to be kept as a file."""
        customer = self.get_visible(request, pk)
        name = f'attachment; filename="customer-{customer.pk}.json"'
        return HttpResponse(
            format_state(customer), content_type="application/json", headers={"Content-Disposition": name}
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        names = [
            field for line in self.fieldsets[0][1]["fields"] for field in ([line] if isinstance(line, str) else line)
        ]
        return tuple(names)


def format_state(customer: Customer) -> str:
    """The customer's state as JSON to be read by people; still the same JSON."""
    state = customer.state()
    try:
        text = json.dumps(state, ensure_ascii=False, indent=2)
    except RecursionError:  # indenting takes more of Python's stack than the nesting that is let in leaves
        text = json.dumps(state, ensure_ascii=False)
    return escape_json(text)
