"""Polar's other lists that tell of customers, and the catalogues that these refer to.

All page by offset without a tie-break, so only an answer that fits one page is sure to be whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from polar_sync.client.parameters import (
    OrganizationFilter,
    Query,
    build_organization_query,
    build_repeated_query,
    build_truth_query,
)
from polar_sync.client.responses import ListPage, PolarRequest, read_page
from polar_sync.client.transport import Transport

PAGE_SIZE = 100


class _Lists:
    """One list; every operation raises the errors that `Customers` names."""

    path: str

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _list(self, query: Query, *, page: int, limit: int) -> ListPage:
        pairs = [*query, ("page", str(page)), ("limit", str(limit))]
        return read_page(self._transport.send(PolarRequest(method="GET", path=self.path, query=pairs)))


class Subscriptions(_Lists):
    """https://polar.sh/docs/api-reference/subscriptions/list. Needs `subscriptions:read`."""

    path = "/v1/subscriptions/"

    def list(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        customer_id: str | UUID | Iterable[str | UUID] | None = None,
        active: bool | None = None,
        status: str | Iterable[str] | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
    ) -> ListPage:
        """Return one page of the subscriptions of these customers with one of these statuses, whole and nested.

        `active` is Polar's own rule for what is in a state; past due subscriptions are not.
        """
        query = build_organization_query(organization_id) + build_repeated_query("customer_id", customer_id)
        query += build_truth_query("active", active) + build_repeated_query("status", status)
        return self._list(query, page=page, limit=limit)


class BenefitGrants(_Lists):
    """https://polar.sh/docs/api-reference/benefit-grants/list. Needs `benefits:read`."""

    path = "/v1/benefit-grants/"

    def list(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        customer_id: str | UUID | Iterable[str | UUID] | None = None,
        is_granted: bool | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
    ) -> ListPage:
        """Return one page of the grants of these customers, each with its benefit."""
        query = build_organization_query(organization_id) + build_repeated_query("customer_id", customer_id)
        query += build_truth_query("is_granted", is_granted)
        return self._list(query, page=page, limit=limit)


class CustomerMeters(_Lists):
    """https://polar.sh/docs/api-reference/customer-meters/list. Needs `customer_meters:read`."""

    path = "/v1/customer-meters/"

    def list(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        customer_id: str | UUID | Iterable[str | UUID] | None = None,
        meter_id: str | UUID | Iterable[str | UUID] | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
    ) -> ListPage:
        """Return one page of the meters of these customers, each with its definition.

        Archived meters, which a state keeps, are left out unless `meter_id` names them.
        """
        query = build_organization_query(organization_id) + build_repeated_query("customer_id", customer_id)
        query += build_repeated_query("meter_id", meter_id)
        return self._list(query, page=page, limit=limit)


class _Catalogue(_Lists):
    def list(
        self, *, organization_id: OrganizationFilter | None = None, page: int = 1, limit: int = PAGE_SIZE
    ) -> ListPage:
        return self._list(build_organization_query(organization_id), page=page, limit=limit)


class Products(_Catalogue):
    """https://polar.sh/docs/api-reference/products/list. Needs `products:read`."""

    path = "/v1/products/"


class Benefits(_Catalogue):
    """https://polar.sh/docs/api-reference/benefits/list. Needs `benefits:read`."""

    path = "/v1/benefits/"


class Meters(_Lists):
    """https://polar.sh/docs/api-reference/meters/list. Needs `meters:read`."""

    path = "/v1/meters/"

    def list(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        is_archived: bool | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
    ) -> ListPage:
        """Return one page of the organization's meters, archived ones too unless `is_archived` says otherwise."""
        query = build_organization_query(organization_id) + build_truth_query("is_archived", is_archived)
        return self._list(query, page=page, limit=limit)
