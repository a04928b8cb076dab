"""The filters of lists of what customers have, by what a row itself is."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.filters import (
    BenefitTypeFilter,
    Filter,
    OrganizationFilter,
    ProductFilter,
    Rows,
    StatusFilter,
)
from polar_sync.admin.labels import BELOW_ZERO


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
        """To that product."""
        del request
        return queryset.filter(product=self.read_id()) if self.value() else queryset


class OwnBenefitTypeFilter(BenefitTypeFilter):
    """By a grant's own type."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Of that type."""
        return Filter.queryset(self, request, queryset)


class BelowZeroFilter(Filter):
    """By whether a meter's balance is below zero: more was consumed than credited."""

    title = gettext_lazy("balance")
    parameter_name = "balance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Below zero, and not."""
        del request, model_admin
        return [("below", _("Below zero")), ("other", _("Zero or more"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those below, or not."""
        del request
        if self.value() == "below":
            return queryset.filter(balance__lte=BELOW_ZERO)
        return queryset.filter(balance__gt=BELOW_ZERO) if self.value() == "other" else queryset
