"""The list of customers, its export, and one customer: https://polar.sh/docs/api-reference/customers/list."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync.conf import settings
from polar_sync.rest import schema
from polar_sync.rest.errors import ResourceNotFoundError
from polar_sync.rest.export import stream_customers
from polar_sync.rest.filters import CustomerFilterSet
from polar_sync.rest.pagination import PARAMETERS, Sorting, get_page, parse_listing
from polar_sync.rest.permissions import READ, STEER_RUNS, WRITE
from polar_sync.rest.queries import (
    CustomerRow,
    choose_organization,
    filter_customers,
    find_by_path,
    find_customer,
    get_brief_rows,
    get_rows,
)
from polar_sync.rest.renderers import CSVRenderer, read_fields
from polar_sync.rest.responses import customer_response, customers_response, state_response
from polar_sync.rest.validation import read_bool, read_together, read_uuid, read_uuids
from polar_sync.rest.views.base import PolarAskingView, PolarView
from polar_sync.rest.writing import create_customer, delete_customer, get_home, update_customer
from polar_sync.sync import get_worker_connection, refresh_customer

SORTING = Sorting(("created_at", "email", "name"), default=("-created_at",))
_FIXED = frozenset({"external_id", "type"})


class WritableView(PolarAskingView):
    """Methods that change something are there only while `WRITE_THROUGH` is on."""

    permissions_by_method: ClassVar = {
        "GET": (READ,),
        **dict.fromkeys(("POST", "PATCH", "DELETE"), (READ, WRITE)),
    }

    @property
    def allowed_methods(self) -> list[str]:
        safe = {"GET", "HEAD", "OPTIONS"}
        return [name for name in super().allowed_methods if name in safe or settings.write_through]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse writing where it is off, but only to whoever may come in."""
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            self.http_method_not_allowed(request)


class CustomerListView(WritableView):
    """Customers, page by page."""

    def is_known_parameter(self, name: str) -> bool:
        """Filters, paging and sorting."""
        return name in PARAMETERS or CustomerFilterSet.is_known(name) or super().is_known_parameter(name)

    @schema.describe(
        operation_id="customers:list",
        parameters=[*schema.LISTING, *schema.CUSTOMER_FILTERS],
        responses=schema.answer(schema.CustomerList, 401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List customers, as Polar does."""
        listing, rows = read_together(
            lambda: parse_listing(request, SORTING),
            lambda: CustomerFilterSet.filter_rows(filter_customers(request), request),
        )
        read = get_rows if listing.is_by_cursor else get_brief_rows
        return customers_response(request, get_page(rows, listing, read=read))

    @schema.describe(
        operation_id="customers:create",
        request=schema.CustomerCreate,
        responses=schema.answer(schema.Customer, 401, 403, 405, 422, 429, 502, 503, status=201),
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Create a customer on Polar and in the mirror. Of several organizations `organization_id` names the one."""
        fields = read_fields(request)
        chosen = None
        if len(settings.organizations) > 1 and isinstance(fields.get("organization_id"), str):
            chosen = read_uuid(fields.pop("organization_id"), ("body", "organization_id"))
        created = create_customer(choose_organization(request, chosen), fields)
        return Response(created, status=201)


class CustomerView(WritableView):
    """One customer by Polar's id."""

    def is_known_parameter(self, name: str) -> bool:
        """A deletion may anonymize."""
        return super().is_known_parameter(name) or (name == "anonymize" and self.request.method == "DELETE")

    def check_path(self) -> None:
        """Raises `ParameterError` where the path can name nobody."""
        read_uuid(self.kwargs["id"], ("path", "id"))

    def find(self, request: Request) -> CustomerRow:
        """The customer whom the path names."""
        return find_customer(request, self.kwargs["id"])

    def read_changes(self, request: Request) -> dict[str, Any]:
        """The fields to change."""
        return read_fields(request)

    @schema.describe(
        operation_id="customers:get",
        parameters=[schema.ID],
        responses=schema.answer(schema.Customer, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer, as Polar does."""
        return customer_response(request, self.find(request))

    @schema.describe(
        operation_id="customers:update",
        parameters=[schema.ID],
        request=schema.CustomerUpdate,
        responses=schema.answer(schema.Customer, 401, 403, 404, 405, 422, 429, 502, 503),
    )
    def patch(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Change a customer on Polar and in the mirror."""
        _, fields = read_together(self.check_path, lambda: self.read_changes(request))
        customer = self.find(request)
        return Response(update_customer(get_home(customer), customer.pk, fields))

    @schema.describe(
        operation_id="customers:delete",
        request=None,
        parameters=[schema.ID, schema.ANONYMIZE],
        responses=schema.answer(None, 401, 403, 404, 405, 422, 429, 502, 503, status=204),
    )
    def delete(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Delete a customer on Polar, for good, and mark them deleted in the mirror; `anonymize` scrubs both."""
        anonymize = request.query_params.get("anonymize", "false")
        _, is_anonymized = read_together(self.check_path, lambda: read_bool(anonymize, ("query", "anonymize")))
        customer = self.find(request)
        delete_customer(get_home(customer), customer.pk, is_anonymized=is_anonymized)
        return Response(status=204)


class CustomerStateView(PolarView):
    """One customer's state by Polar's id."""

    @schema.describe(
        operation_id="customers:get_state",
        parameters=[schema.ID],
        responses=schema.answer(schema.CustomerState, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer with subscriptions, granted benefits and meters, as Polar does."""
        return state_response(request, find_customer(request, kwargs["id"]))


class CustomerBalanceView(PolarAskingView):
    """One customer's balance, which is not mirrored."""

    @schema.describe(
        operation_id="customers:get_balance",
        parameters=[schema.ID],
        responses=schema.answer(schema.Balance, 401, 403, 404, 422, 429, 502, 503),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Ask Polar for the balance, in cents. Servers of 2026 no longer have it: 404, and a header says so."""
        customer = find_customer(request, kwargs["id"])
        connection = get_worker_connection(get_home(customer))
        response = Response(connection.client.customers.get_balance(customer.pk))
        response["Cache-Control"] = "private, no-store"
        return response


class CustomerRefreshView(PolarAskingView):
    """Asks Polar about one customer now."""

    permissions_by_method: ClassVar = {"POST": (READ, STEER_RUNS)}

    @schema.describe(
        operation_id="customers:refresh",
        parameters=[schema.ID],
        request=None,
        responses=schema.answer(schema.CustomerState, 401, 403, 404, 422, 429, 502, 503),
    )
    def post(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Mirror a customer's present state and answer it; 404 for one whom Polar has deleted meanwhile."""
        customer = find_customer(request, kwargs["id"])
        home = get_home(customer)
        refresh_customer(home, customer.pk, get_worker_connection(home), is_fresh=True)
        return state_response(request, find_customer(request, str(customer.pk)))


@extend_schema_view(
    get=schema.describe(
        operation_id="customers:get_external",
        parameters=[schema.NO_ID, schema.EXTERNAL_ID, schema.ORGANIZATION],
    ),
    patch=schema.describe(
        operation_id="customers:update_external",
        request=schema.CustomerUpdateExternalID,
        parameters=[schema.NO_ID, schema.EXTERNAL_ID, schema.ORGANIZATION],
    ),
    delete=schema.describe(
        operation_id="customers:delete_external",
        parameters=[schema.NO_ID, schema.EXTERNAL_ID, schema.ORGANIZATION, schema.ANONYMIZE],
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
            raise ResourceNotFoundError
        return customer


@extend_schema_view(patch=schema.describe(exclude=True), delete=schema.describe(exclude=True))
class ExternalCustomerStateView(ExternalCustomerView):
    """One customer's state by your own id. Nothing else is done to a state, so that other methods mean an id."""

    def get_own_id(self) -> str:
        """The external id that ends in what is the path to a state otherwise."""
        end = "/" if self.request.path_info.endswith("/") else ""
        return f"{self.kwargs['external_id']}/state{end}"

    @schema.describe(
        operation_id="customers:get_state_external",
        parameters=[schema.NO_ID, schema.EXTERNAL_ID, schema.ORGANIZATION],
        responses=schema.answer(schema.CustomerState, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer's state by your own id, as Polar does."""
        customer = find_by_path(request, kwargs["external_id"])
        if customer is not None:
            return state_response(request, customer)
        # Nobody has that id, but one that ends in "/state" may be meant.
        return super().get(request)


class CustomerExportView(PolarView):
    """The export."""

    renderer_classes = (CSVRenderer,)
    parameters = frozenset({"organization_id"})

    @schema.describe(
        operation_id="customers:export",
        parameters=[schema.ORGANIZATION],
        responses=schema.csv_response(401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Export customers as CSV, as Polar does; the column Tax ID holds the number alone."""
        ids = read_uuids(request.query_params.getlist("organization_id"), ("query", "organization_id"))
        customers = filter_customers(request)
        if ids:
            customers = customers.filter(organization__polar_id__in=ids)
        response = StreamingHttpResponse(stream_customers(customers), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="polar-customers.csv"'
        response["Cache-Control"] = "private, no-store"
        return response
