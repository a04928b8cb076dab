"""Customers: whom we mirror, and what they have."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from polar_sync.admin.base import ReadOnlyAdmin, ReadOnlyInline
from polar_sync.models import BenefitGrant, Customer, Meter, Subscription


class SubscriptionInline(ReadOnlyInline):
    """Present subscriptions."""

    model = Subscription
    fields = ("status", "product_id", "amount", "currency", "recurring_interval", "current_period_end", "ends_at")
    readonly_fields = fields


class BenefitGrantInline(ReadOnlyInline):
    """Granted benefits."""

    model = BenefitGrant
    fields = ("benefit_type", "benefit_id", "granted_at")
    readonly_fields = fields


class MeterInline(ReadOnlyInline):
    """Balances."""

    model = Meter
    fields = ("meter_id", "consumed_units", "credited_units", "balance")
    readonly_fields = fields


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """The list of customers, and each with its state."""

    list_display = ("label", "email", "external_id", "type", "organization", "created_at", "deleted_at")
    list_filter = ("organization", "type", ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("organization",)
    search_fields = ("email", "name", "=external_id", "=id")
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    inlines = (SubscriptionInline, BenefitGrantInline, MeterInline)

    @admin.display(description=_("customer"), ordering="name")
    def label(self, customer: Customer) -> str:
        """The name, or what else tells who it is."""
        return str(customer)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Deleted customers included: staff ask about them too."""
        del request
        return Customer.all_objects.order_by(*self.ordering)
