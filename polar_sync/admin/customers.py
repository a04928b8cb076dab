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
from django.utils.translation import gettext_lazy

from polar_sync.admin import filters
from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.choices import get_choices
from polar_sync.admin.customer_columns import CustomerColumns
from polar_sync.admin.customer_fields import CustomerFields
from polar_sync.admin.export import ExportAdminMixin
from polar_sync.admin.inlines import BenefitGrantInline, MeterInline, SubscriptionInline
from polar_sync.admin.search import search_customers
from polar_sync.admin.steering import CustomerSteeringMixin
from polar_sync.admin.summary import summarize
from polar_sync.admin.text import escape_json
from polar_sync.models import BenefitGrant, Customer, Meter, Subscription, SubscriptionMeter

_WIDE = ("payload", "extra", "state_extra", "metadata", "billing_address", "tax_id")
MAX_JSON = 200_000
"""Characters of a state that the page shows; the download has all."""


@admin.register(Customer)
class CustomerAdmin(CustomerColumns, CustomerFields, CustomerSteeringMixin, ExportAdminMixin, ReadOnlyAdmin):
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
        del request
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
        del request
        return search_customers(queryset, search_term), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The customer with all of its state, in a fixed number of statements."""
        del request, from_field
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
        context |= {
            "polar_summary": summarize(customer, request=request, site_name=self.admin_site.name),
            "polar_state": text[:MAX_JSON],
            "polar_state_is_cut": len(text) > MAX_JSON,
            "polar_state_url": reverse(f"{self.admin_site.name}:polar_sync_customer_state", args=(customer.pk,)),
            **self.get_steering_context(request, customer),
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
        """All."""
        del request, obj
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
