"""Mirrored subscriptions, benefit grants and meters, which Polar lists in other shapes: here they are as in a state."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request

from polar_sync.models import BenefitGrant, Meter, Subscription
from polar_sync.rest import schema
from polar_sync.rest.errors import ResourceNotFoundError
from polar_sync.rest.filters import BenefitGrantFilterSet, MeterFilterSet, QueryFilterSet, SubscriptionFilterSet
from polar_sync.rest.pagination import PARAMETERS, Sorting, get_page, parse_listing
from polar_sync.rest.queries import filter_visible
from polar_sync.rest.responses import child_response, children_response
from polar_sync.rest.validation import read_together, read_uuid
from polar_sync.rest.views.base import PolarView

_CUSTOMER = ("customer__organization_id", "customer__external_id", "customer__synced_at")
_TIMES = ("customer__observation__customer_id", "customer__observation__state_observed_at")


class ChildView(PolarView):
    """What the list and the single object share."""

    model: ClassVar[type[Any]]
    sorting: ClassVar[Sorting]

    def get_rows(self, request: Request) -> QuerySet[Any]:
        """Rows of customers that the caller may see, each with its customer."""
        rows = self.model.objects.select_related("customer__observation")
        rows = rows.only("id", "payload", *self.sorting.names, "customer_id", *_CUSTOMER, *_TIMES)
        if self.model is Subscription:
            rows = rows.prefetch_related("meters")
        return filter_visible(rows, request, field="customer__organization_id")


def show_child(row: Any) -> dict[str, Any]:
    """The object as in a state, and whose it is."""
    customer = row.customer
    return {
        **row.to_polar(),
        "customer_id": str(row.customer_id),
        "external_customer_id": customer.external_id,
        "organization_id": str(customer.organization_id),
    }


class ChildListView(ChildView):
    """A list."""

    filters: ClassVar[type[QueryFilterSet]]

    def is_known_parameter(self, name: str) -> bool:
        """Filters, paging and sorting."""
        return name in PARAMETERS or self.filters.is_known(name) or super().is_known_parameter(name)

    def get(self, request: Request) -> HttpResponseBase:
        """A page of mirrored rows."""
        listing, rows = read_together(
            lambda: parse_listing(request, self.sorting),
            lambda: self.filters.filter_rows(self.get_rows(request), request),
        )
        return children_response(request, get_page(rows, listing), show=show_child)


class ChildDetailView(ChildView):
    """One object."""

    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """One mirrored row by Polar's id."""
        row = self.get_rows(request).filter(pk=read_uuid(kwargs["id"], ("path", "id"))).first()
        if row is None:
            raise ResourceNotFoundError
        return child_response(request, row, show=show_child)


class _Subscriptions(ChildView):
    model = Subscription
    sorting = Sorting(("created_at", "current_period_end"), default=("-created_at",))


class _BenefitGrants(ChildView):
    model = BenefitGrant
    sorting = Sorting(("created_at",), default=("-created_at",))


class _Meters(ChildView):
    model = Meter
    sorting = Sorting(("created_at", "balance"), default=("-created_at",))


@extend_schema_view(
    get=schema.describe(
        operation_id="subscriptions:list",
        summary="List mirrored subscriptions",
        parameters=[*schema.make_listing(_Subscriptions.sorting), *schema.SUBSCRIPTION_FILTERS],
        responses=schema.answer(schema.SubscriptionList, 401, 403, 422),
    )
)
class SubscriptionListView(_Subscriptions, ChildListView):
    """Subscriptions."""

    filters = SubscriptionFilterSet


@extend_schema_view(
    get=schema.describe(
        operation_id="subscriptions:get",
        summary="Get a mirrored subscription",
        parameters=[schema.ID],
        responses=schema.answer(schema.Subscription, 401, 403, 404, 422),
    )
)
class SubscriptionView(_Subscriptions, ChildDetailView):
    """A subscription."""


@extend_schema_view(
    get=schema.describe(
        operation_id="benefit-grants:list",
        summary="List mirrored benefit grants",
        parameters=[*schema.make_listing(_BenefitGrants.sorting), *schema.BENEFIT_GRANT_FILTERS],
        responses=schema.answer(schema.BenefitGrantList, 401, 403, 422),
    )
)
class BenefitGrantListView(_BenefitGrants, ChildListView):
    """Benefit grants."""

    filters = BenefitGrantFilterSet


@extend_schema_view(
    get=schema.describe(
        operation_id="benefit-grants:get",
        summary="Get a mirrored benefit grant",
        parameters=[schema.ID],
        responses=schema.answer(schema.BenefitGrant, 401, 403, 404, 422),
    )
)
class BenefitGrantView(_BenefitGrants, ChildDetailView):
    """A benefit grant."""


@extend_schema_view(
    get=schema.describe(
        operation_id="meters:list",
        summary="List customers' mirrored balances on meters",
        parameters=[*schema.make_listing(_Meters.sorting), *schema.METER_FILTERS],
        responses=schema.answer(schema.MeterList, 401, 403, 422),
    )
)
class MeterListView(_Meters, ChildListView):
    """Meters."""

    filters = MeterFilterSet


@extend_schema_view(
    get=schema.describe(
        operation_id="meters:get",
        summary="Get a customer's mirrored balance on a meter",
        parameters=[schema.ID],
        responses=schema.answer(schema.Meter, 401, 403, 404, 422),
    )
)
class MeterView(_Meters, ChildDetailView):
    """A meter."""
