"""The list of customers, and one customer by Polar's id: https://polar.sh/docs/api-reference/customers/list."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync.conf import settings
from polar_sync.rest import documents
from polar_sync.rest.answers import answer_customer, answer_customers, answer_state
from polar_sync.rest.details import read_bool, read_together, read_uuid
from polar_sync.rest.filters import CustomerFilterSet
from polar_sync.rest.formats import read_fields
from polar_sync.rest.listing import PARAMETERS, Sorting, get_page, read_listing
from polar_sync.rest.lookups import filter_customers, find_customer
from polar_sync.rest.organizations import choose_organization
from polar_sync.rest.permissions import READ, STEER_RUNS, WRITE
from polar_sync.rest.rows import CustomerRow, read_brief_rows, read_rows
from polar_sync.rest.views.base import PolarAskingView, PolarView
from polar_sync.rest.writing import create_customer, delete_customer, get_home, update_customer
from polar_sync.sync import get_worker_connection, refresh_customer

SORTING = Sorting(("created_at", "email", "name"), default=("-created_at",))


class WritableView(PolarAskingView):
    """Methods that change something are there only while `WRITE_THROUGH` is on."""

    permissions_by_method: ClassVar = {
        "GET": (READ,),
        **dict.fromkeys(("POST", "PATCH", "DELETE"), (READ, WRITE)),
    }

    @property
    def allowed_methods(self) -> list[str]:
        """What `Allow` names."""
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

    @documents.describe(
        operation_id="customers:list",
        parameters=[*documents.LISTING, *documents.CUSTOMER_FILTERS],
        responses=documents.answer(documents.CustomerList, 401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List customers, as Polar does."""
        listing, rows = read_together(
            lambda: read_listing(request, SORTING),
            lambda: CustomerFilterSet.narrow(filter_customers(request), request),
        )
        read = read_rows if listing.is_by_cursor else read_brief_rows
        return answer_customers(request, get_page(rows, listing, read=read))

    @documents.describe(
        operation_id="customers:create",
        request=documents.CustomerCreate,
        responses=documents.answer(documents.Customer, 401, 403, 405, 422, 429, 502, 503, status=201),
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

    @documents.describe(
        operation_id="customers:get",
        parameters=[documents.ID],
        responses=documents.answer(documents.Customer, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer, as Polar does."""
        return answer_customer(request, self.find(request))

    @documents.describe(
        operation_id="customers:update",
        parameters=[documents.ID],
        request=documents.CustomerUpdate,
        responses=documents.answer(documents.Customer, 401, 403, 404, 405, 422, 429, 502, 503),
    )
    def patch(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Change a customer on Polar and in the mirror."""
        _, fields = read_together(self.check_path, lambda: self.read_changes(request))
        customer = self.find(request)
        return Response(update_customer(get_home(customer), customer.pk, fields))

    @documents.describe(
        operation_id="customers:delete",
        request=None,
        parameters=[documents.ID, documents.ANONYMIZE],
        responses=documents.answer(None, 401, 403, 404, 405, 422, 429, 502, 503, status=204),
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

    @documents.describe(
        operation_id="customers:get_state",
        parameters=[documents.ID],
        responses=documents.answer(documents.CustomerState, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a customer with subscriptions, granted benefits and meters, as Polar does."""
        return answer_state(request, find_customer(request, kwargs["id"]))


class CustomerBalanceView(PolarAskingView):
    """One customer's balance, which is not mirrored."""

    @documents.describe(
        operation_id="customers:get_balance",
        parameters=[documents.ID],
        responses=documents.answer(documents.Balance, 401, 403, 404, 422, 429, 502, 503),
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

    @documents.describe(
        operation_id="customers:refresh",
        parameters=[documents.ID],
        request=None,
        responses=documents.answer(documents.CustomerState, 401, 403, 404, 422, 429, 502, 503),
    )
    def post(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Mirror a customer's present state and answer it; 404 for one whom Polar has deleted meanwhile."""
        customer = find_customer(request, kwargs["id"])
        home = get_home(customer)
        refresh_customer(home, customer.pk, get_worker_connection(home), is_fresh=True)
        return answer_state(request, find_customer(request, str(customer.pk)))
