"""Finding the one customer that a path names."""

from __future__ import annotations

from django.db.models import QuerySet
from rest_framework.request import Request

from polar_sync.models import Customer
from polar_sync.rest.details import read_uuid, read_uuids
from polar_sync.rest.errors import refuse_missing, refuse_value
from polar_sync.rest.organizations import filter_visible
from polar_sync.rest.rows import CustomerRow, read_rows


def filter_customers(request: Request, *, is_restricted: bool = True) -> QuerySet[Customer]:
    """Living customers; `is_restricted` to those of organizations that the caller may see."""
    living: QuerySet[Customer] = Customer.objects.all()
    return filter_visible(living, request) if is_restricted else living


def find_customer(request: Request, text: str) -> CustomerRow:
    """By Polar's id. Raises 422 for what is no UUID, 404 for whom there is not."""
    found = read_rows(filter_customers(request).filter(pk=read_uuid(text, ("path", "id"))))
    if not found:
        raise refuse_missing()
    return found[0]


def find_external(request: Request, external_id: str, *, is_restricted: bool = True) -> CustomerRow | None:
    """By your own id; of two in one organization, where one's deletion is not known yet, the younger.

    Raises 422 where several organizations have one and `organization_id` does not say which is meant.
    """
    texts = request.query_params.getlist("organization_id")
    ids = read_uuids(texts, ("query", "organization_id"))
    found = filter_customers(request, is_restricted=is_restricted)
    if ids:
        found = found.filter(organization__polar_id__in=ids)
    rows = found.with_external_id(external_id)  # type: ignore[attr-defined]
    customers = read_rows(rows.order_by("-created_at", "-pk")[:100])
    if len({customer.organization_id for customer in customers}) > 1:
        message = "Customers of several organizations have this external id; say with organization_id which is meant."
        raise refuse_value("value_error", ("query", "organization_id"), message, None)
    return customers[0] if customers else None


def find_by_path(request: Request, path: str) -> CustomerRow | None:
    """By the external id that ends a path, which itself may end in the slash that the path does not need."""
    for external_id in dict.fromkeys((path, path.removesuffix("/"))):
        customer = find_external(request, external_id) if external_id else None
        if customer is not None:
            return customer
    return None
