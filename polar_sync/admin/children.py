"""Lists over all customers: subscriptions, grants, meters. Each leads to its customer."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.columns import BenefitGrantColumns, MeterColumns, SubscriptionColumns
from polar_sync.admin.export import ExportAdminMixin
from polar_sync.admin.filters import (
    BenefitTypeFilter,
    Filter,
    OrganizationFilter,
    ProductFilter,
    Rows,
    StatusFilter,
)
from polar_sync.admin.formatting import BELOW_ZERO, show, show_time
from polar_sync.admin.search import search_by_customer
from polar_sync.models import BenefitGrant, Meter, Subscription


class OwnersOrganizationFilter(OrganizationFilter):
    """By the organization of the customer to whom something belongs."""

    field = "customer__organization"


class OwnStatusFilter(Filter):
    """By a subscription's own status."""

    title = StatusFilter.title
    parameter_name = "status"
    names = StatusFilter.names


class OwnProductFilter(ProductFilter):
    """By a subscription's own product."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(product=self.read_id()) if self.value() else queryset


class OwnBenefitTypeFilter(BenefitTypeFilter):
    """By a grant's own type."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return Filter.queryset(self, request, queryset)


class BelowZeroFilter(Filter):
    """By whether a meter's balance is below zero: more was consumed than credited."""

    title = gettext_lazy("balance")
    parameter_name = "balance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Below zero, and not."""
        return [("below", _("Below zero")), ("other", _("Zero or more"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those below, or not."""
        if self.value() == "below":
            return queryset.filter(balance__lte=BELOW_ZERO)
        return queryset.filter(balance__gt=BELOW_ZERO) if self.value() == "other" else queryset


class ChildAdmin(ReadOnlyAdmin):
    """Something that a customer has."""

    list_per_page = 50
    list_display_links = None
    ordering = ("-created_at", "-id")
    search_fields = ("customer__email",)
    search_help_text = gettext_lazy("The customer's name, email or external id, or any id of Polar's.")
    change_list_template = "admin/polar_sync/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what each row shows, in one statement."""
        rows = super().get_queryset(request).select_related(*self.list_select_related)  # type: ignore[misc]
        return rows.defer("payload", "customer__payload")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By its customer, or its own id."""
        return search_by_customer(queryset, search_term), False

    @admin.display(description=gettext_lazy("customer"))
    def owner(self, row: Any) -> SafeString:
        """The customer to whom it belongs."""
        url = reverse(f"{self.admin_site.name}:polar_sync_customer_change", args=(row.customer_id,))
        return format_html('<a href="{}">{}</a>', url, show(str(row.customer)))

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def created(self, row: Any) -> SafeString:
        return show_time(row.created_at)


@admin.register(Subscription)
class SubscriptionAdmin(SubscriptionColumns, ExportAdminMixin, ChildAdmin):
    """Present subscriptions of all customers."""

    list_display = ("product_name", "owner", "status_label", "price", "period_end", "ends", "created")
    list_filter = (OwnStatusFilter, OwnProductFilter, OwnersOrganizationFilter)
    list_select_related = ("customer", "product")
    actions = ("export_selected",)
    exports = ("own_subscriptions",)


@admin.register(BenefitGrant)
class BenefitGrantAdmin(BenefitGrantColumns, ChildAdmin):
    """Granted benefits of all customers."""

    list_display = ("benefit_name", "owner", "type_label", "granted", "created")
    list_filter = (OwnBenefitTypeFilter, OwnersOrganizationFilter)
    list_select_related = ("customer", "benefit")


@admin.register(Meter)
class MeterAdmin(MeterColumns, ExportAdminMixin, ChildAdmin):
    """Balances of all customers."""

    list_display = ("meter_name", "owner", "consumed", "credited", "balance_label", "bar", "created")
    list_filter = (BelowZeroFilter, OwnersOrganizationFilter)
    list_select_related = ("customer", "meter")
    actions = ("export_selected",)
    exports = ("own_meters",)
