"""`path("polar/", include("polar_sync.rest.urls"))`: Polar's paths below `polar/v1/`, a description and its page.

As on Polar, lists end in a slash and single objects do not; both spellings work.
"""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import StringConverter

from polar_sync.rest.views.children import (
    BenefitGrantListView,
    BenefitGrantView,
    MeterListView,
    MeterView,
    SubscriptionListView,
    SubscriptionView,
)
from polar_sync.rest.views.customers import (
    CustomerBalanceView,
    CustomerExportView,
    CustomerListView,
    CustomerRefreshView,
    CustomerStateView,
    CustomerView,
    ExternalCustomerStateView,
    ExternalCustomerView,
)
from polar_sync.rest.views.portal import PortalCustomerView
from polar_sync.rest.views.runs import RunCancelView, RunListView, RunView, StatusView
from polar_sync.rest.views.schema import DocumentationView, SchemaView, route_not_found_response

app_name = "polar_sync_rest"


class TextConverter(StringConverter):
    """Any text but the empty one: also with slashes, as Django's `path`, and with line breaks."""

    regex = r"[\s\S]+"


register_converter(TextConverter, "polar_text")


def _route(route: str, view: type[Any], name: str) -> list[URLPattern]:
    """The path as Polar spells it, and the other way; the description names the first alone."""
    other = route.removesuffix("/") if route.endswith("/") else f"{route}/"
    return [
        path(route, view.as_view(), name=name),
        path(other, view.as_view(schema=None), name=f"{name}-alternative"),
    ]


urlpatterns = [
    *_route("v1/customers/", CustomerListView, "customers"),
    *_route("v1/customers/export", CustomerExportView, "customers-export"),
    *_route(
        "v1/customers/external/<polar_text:external_id>/state", ExternalCustomerStateView, "customer-external-state"
    ),
    path("v1/customers/external/<polar_text:external_id>", ExternalCustomerView.as_view(), name="customer-external"),
    *_route("v1/customers/<str:id>/state", CustomerStateView, "customer-state"),
    *_route("v1/customers/<str:id>/balance", CustomerBalanceView, "customer-balance"),
    *_route("v1/customers/<str:id>/refresh", CustomerRefreshView, "customer-refresh"),
    *_route("v1/customers/<str:id>", CustomerView, "customer"),
    *_route("v1/customer-portal/customers/me", PortalCustomerView, "portal-customer"),
    *_route("v1/subscriptions/", SubscriptionListView, "subscriptions"),
    *_route("v1/subscriptions/<str:id>", SubscriptionView, "subscription"),
    *_route("v1/benefit-grants/", BenefitGrantListView, "benefit-grants"),
    *_route("v1/benefit-grants/<str:id>", BenefitGrantView, "benefit-grant"),
    *_route("v1/meters/", MeterListView, "meters"),
    *_route("v1/meters/<str:id>", MeterView, "meter"),
    # Polar's own name of them.
    path("v1/customer-meters/", MeterListView.as_view(schema=None), name="customer-meters"),
    path("v1/customer-meters/<str:id>", MeterView.as_view(schema=None), name="customer-meter"),
    *_route("v1/sync/runs/", RunListView, "runs"),
    *_route("v1/sync/runs/<str:id>/cancel", RunCancelView, "run-cancel"),
    *_route("v1/sync/runs/<str:id>", RunView, "run"),
    *_route("v1/sync/status", StatusView, "status"),
    path("openapi.json", SchemaView.as_view(schema=None), name="schema"),
    path("docs/", DocumentationView.as_view(schema=None), name="docs"),
    re_path(r"^v1(?:/[\s\S]*)?$", route_not_found_response, name="missing"),
]
