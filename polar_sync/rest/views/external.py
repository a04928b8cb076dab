"""One customer by your own id, which may hold slashes here: https://polar.sh/docs/api-reference/customers/get-external."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request

from polar_sync.rest import documents
from polar_sync.rest.answers import answer_state
from polar_sync.rest.errors import refuse_missing
from polar_sync.rest.lookups import find_by_path
from polar_sync.rest.rows import CustomerRow
from polar_sync.rest.views.customers import CustomerView

_FIXED = frozenset({"external_id", "type"})


@extend_schema_view(
    get=documents.describe(
        operation_id="customers:get_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION],
    ),
    patch=documents.describe(
        operation_id="customers:update_external",
        request=documents.CustomerUpdateExternalID,
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

    def check_path(self) -> None:
        """Any text can be an external id."""

    def get_own_id(self) -> str:
        """The external id that the path names."""
        return str(self.kwargs["external_id"])

    def read_changes(self, request: Request) -> dict[str, Any]:
        """The fields to change: on this path Polar takes neither another external id nor another type."""
        return {name: value for name, value in super().read_changes(request).items() if name not in _FIXED}

    def find(self, request: Request) -> CustomerRow:
        """The customer whom the path names."""
        customer = find_by_path(request, self.get_own_id())
        if customer is None:
            raise refuse_missing()
        return customer


@extend_schema_view(patch=documents.describe(exclude=True), delete=documents.describe(exclude=True))
class ExternalCustomerStateView(ExternalCustomerView):
    """One customer's state by your own id. Nothing else is done to a state, so that other methods mean an id."""

    def get_own_id(self) -> str:
        """The external id that ends in what is the path to a state otherwise."""
        end = "/" if self.request.path_info.endswith("/") else ""
        return f"{self.kwargs['external_id']}/state{end}"

    @documents.describe(
        operation_id="customers:get_state_external",
        parameters=[documents.NO_ID, documents.EXTERNAL_ID, documents.ORGANIZATION],
        responses=documents.answer(documents.CustomerState, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer's state by your own id, as Polar does."""
        customer = find_by_path(request, kwargs["external_id"])
        if customer is not None:
            return answer_state(request, customer)
        # Nobody has that id, but one that ends in "/state" may be meant.
        return super().get(request)
