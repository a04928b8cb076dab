"""Mirrored subscriptions, benefit grants and meters, which Polar lists in other shapes: here they are as in a state."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request

from polar_sync.models import BenefitGrant, Meter, Subscription
from polar_sync.rest import documents
from polar_sync.rest.answers import answer_child, answer_children
from polar_sync.rest.details import read_together, read_uuid
from polar_sync.rest.errors import refuse_missing
from polar_sync.rest.filters import BenefitGrantFilterSet, MeterFilterSet, QueryFilterSet, SubscriptionFilterSet
from polar_sync.rest.listing import PARAMETERS, Sorting, get_page, read_listing
from polar_sync.rest.organizations import filter_visible
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
            lambda: read_listing(request, self.sorting), lambda: self.filters.narrow(self.get_rows(request), request)
        )
        return answer_children(request, get_page(rows, listing), show=show_child)


class ChildDetailView(ChildView):
    """One object."""

    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """One mirrored row by Polar's id."""
        row = self.get_rows(request).filter(pk=read_uuid(kwargs["id"], ("path", "id"))).first()
        if row is None:
            raise refuse_missing()
        return answer_child(request, row, show=show_child)


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
    get=documents.describe(
        operation_id="subscriptions:list",
        summary="List mirrored subscriptions",
        parameters=[*documents.make_listing(_Subscriptions.sorting), *documents.SUBSCRIPTION_FILTERS],
        responses=documents.answer(documents.SubscriptionList, 401, 403, 422),
    )
)
class SubscriptionListView(_Subscriptions, ChildListView):
    """Subscriptions."""

    filters = SubscriptionFilterSet


@extend_schema_view(
    get=documents.describe(
        operation_id="subscriptions:get",
        summary="Get a mirrored subscription",
        parameters=[documents.ID],
        responses=documents.answer(documents.Subscription, 401, 403, 404, 422),
    )
)
class SubscriptionView(_Subscriptions, ChildDetailView):
    """A subscription."""


@extend_schema_view(
    get=documents.describe(
        operation_id="benefit-grants:list",
        summary="List mirrored benefit grants",
        parameters=[*documents.make_listing(_BenefitGrants.sorting), *documents.BENEFIT_GRANT_FILTERS],
        responses=documents.answer(documents.BenefitGrantList, 401, 403, 422),
    )
)
class BenefitGrantListView(_BenefitGrants, ChildListView):
    """Benefit grants."""

    filters = BenefitGrantFilterSet


@extend_schema_view(
    get=documents.describe(
        operation_id="benefit-grants:get",
        summary="Get a mirrored benefit grant",
        parameters=[documents.ID],
        responses=documents.answer(documents.BenefitGrant, 401, 403, 404, 422),
    )
)
class BenefitGrantView(_BenefitGrants, ChildDetailView):
    """A benefit grant."""


@extend_schema_view(
    get=documents.describe(
        operation_id="meters:list",
        summary="List customers' mirrored balances on meters",
        parameters=[*documents.make_listing(_Meters.sorting), *documents.METER_FILTERS],
        responses=documents.answer(documents.MeterList, 401, 403, 422),
    )
)
class MeterListView(_Meters, ChildListView):
    """Meters."""

    filters = MeterFilterSet


@extend_schema_view(
    get=documents.describe(
        operation_id="meters:get",
        summary="Get a customer's mirrored balance on a meter",
        parameters=[documents.ID],
        responses=documents.answer(documents.Meter, 401, 403, 404, 422),
    )
)
class MeterView(_Meters, ChildDetailView):
    """A meter."""
