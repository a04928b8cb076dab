"""What a customer may see: https://polar.sh/docs/api-reference/customer-portal/customers/get."""

from __future__ import annotations

from collections.abc import Sequence

from django.http.response import HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from polar_sync.rest import schema
from polar_sync.rest.authentication import PortalSessionAuthentication, SessionToken
from polar_sync.rest.permissions import IsPortalCustomer
from polar_sync.rest.portal import ask_polar, find_own_customer, show_customer
from polar_sync.rest.responses import portal_response
from polar_sync.rest.throttles import PortalThrottle
from polar_sync.rest.views.base import PolarAskingView


class PortalCustomerView(PolarAskingView):
    """The customer's own view."""

    parameters = frozenset({"organization_id"})

    def get_authenticators(self) -> list[BaseAuthentication]:
        """A customer session token of Polar's, on this path alone, or who is signed in here."""
        return [PortalSessionAuthentication(), *super().get_authenticators()]

    def get_permissions(self) -> Sequence[BasePermission]:
        """Customers are no staff."""
        return [IsPortalCustomer()]

    def get_throttles(self) -> list[BaseThrottle]:
        """Always one more than the settings name."""
        return [PortalThrottle(), *super().get_throttles()]

    def get_scopes(self) -> list[str]:
        return ["customer_portal:read", "customer_portal:write"]

    @schema.describe(
        operation_id="customer_portal:customers:get",
        parameters=[schema.ORGANIZATION],
        responses=schema.answer(schema.PortalCustomer, 401, 404, 422, 429, 502, 503),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Get your own customer: from the mirror when signed in here, Polar's answer with a `polar_cst_` token."""
        if isinstance(request.auth, SessionToken):
            response = Response(ask_polar(request.auth))
            response["Cache-Control"] = "private, no-store"
            return response
        customer = find_own_customer(request)
        return portal_response(request, customer, show_customer(customer))
