"""One customer by your own id, which may hold slashes here: https://polar.sh/docs/api-reference/customers/get-external."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request

from polar_sync.rest import documents
from polar_sync.rest.answers import answer_customer, answer_state
from polar_sync.rest.errors import refuse_missing
from polar_sync.rest.lookups import find_by_path
from polar_sync.rest.rows import CustomerRow
from polar_sync.rest.views.base import PolarView
from polar_sync.rest.views.customers import CustomerView


@extend_schema_view(
    get=documents.describe(
        operation_id="customers:get_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION],
    ),
    patch=documents.describe(
        operation_id="customers:update_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION],
    ),
    delete=documents.describe(
        operation_id="customers:delete_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION, documents.ANONYMIZE],
    ),
)
class ExternalCustomerView(CustomerView):
    """One customer by your own id."""

    def is_known_parameter(self, name: str) -> bool:
        """Which organization is meant, where several know the id."""
        return name == "organization_id" or super().is_known_parameter(name)

    def find(self, request: Request) -> CustomerRow:
        """The customer whom the path names."""
        customer = find_by_path(request, self.kwargs["external_id"])
        if customer is None:
            raise refuse_missing()
        return customer


class ExternalCustomerStateView(PolarView):
    """One customer's state by your own id."""

    parameters = frozenset({"organization_id"})

    @documents.describe(
        operation_id="customers:get_state_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION],
        responses=documents.answer(documents.CustomerState, 401, 403, 404, 422),
    )
    def get(self, request: Request, external_id: str) -> HttpResponseBase:
        """Get a customer's state by your own id, as Polar does."""
        customer = find_by_path(request, external_id)
        if customer is not None:
            return answer_state(request, customer)
        # Nobody has that id, but one that ends in "/state" may be meant.
        customer = find_by_path(request, f"{external_id}/state")
        if customer is None:
            raise refuse_missing()
        return answer_customer(request, customer)
