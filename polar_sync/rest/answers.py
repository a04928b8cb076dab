"""Answers of mirrored data, each with its age, and 304 where the caller has it already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Min
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync.models import Customer
from polar_sync.payloads import dump_canonical
from polar_sync.rest.errors import refuse_missing
from polar_sync.rest.formats import JSONText
from polar_sync.rest.freshness import Freshness, describe_customer, describe_rows
from polar_sync.rest.listing import Page
from polar_sync.rest.loading import load_state
from polar_sync.rest.organizations import filter_organizations
from polar_sync.rest.rows import CustomerRow


def answer_customer(request: Request, customer: CustomerRow) -> HttpResponseBase:
    """A customer's own fields."""
    freshness = describe_customer(customer, kind="customer")
    return freshness.answer_unmodified(request) or freshness.mark(request, Response(JSONText(customer.to_json())))


def answer_portal(request: Request, customer: CustomerRow, data: dict[str, Any]) -> HttpResponseBase:
    """What a customer may see of their own fields."""
    freshness = describe_customer(customer, kind="portal")
    return freshness.answer_unmodified(request) or freshness.mark(request, Response(data))


def answer_state(request: Request, customer: CustomerRow) -> HttpResponseBase:
    """A customer's state; the children are loaded only where the caller does not have them yet."""
    freshness = describe_customer(customer, kind="state")
    unmodified = freshness.answer_unmodified(request)
    if unmodified is not None:
        return unmodified
    # Read after the times, so that what is answered is never older than its headers say.
    state = load_state(customer.pk)
    if state is None:
        raise refuse_missing()
    return freshness.mark(request, Response(state))


def answer_customers(request: Request, page: Page) -> HttpResponseBase:
    """A page of customers."""
    rows: Sequence[CustomerRow] = page.rows
    times = [(row.pk, row.synced_at, row.observed_at) for row in rows]
    return _answer_page(request, page, times, show=lambda: [row.to_json() for row in rows])


def answer_children(request: Request, page: Page, *, show: Callable[[Any], dict[str, Any]]) -> HttpResponseBase:
    """A page of rows that each belong to a customer, and were read with them."""
    times = [(row.pk, row.customer.synced_at, row.customer.observation.state_observed_at) for row in page.rows]
    return _answer_page(request, page, times, show=lambda: [dump_canonical(show(row)) for row in page.rows])


def _answer_page(
    request: Request,
    page: Page,
    times: Sequence[tuple[object, datetime | None, datetime | None]],
    *,
    show: Callable[[], list[str]],
) -> HttpResponseBase:
    fallback = None if page.rows else _get_oldest_success(request)
    freshness = describe_rows(times, key=f"{request.get_full_path()} {page.pagination}", fallback=fallback)
    unmodified = freshness.answer_unmodified(request)
    if unmodified is not None:
        return unmodified
    body = f'{{"items":[{",".join(show())}],"pagination":{dump_canonical(page.pagination)}}}'
    return freshness.mark(request, Response(JSONText(body)))


def answer_child(request: Request, row: Any, *, show: Callable[[Any], dict[str, Any]]) -> HttpResponseBase:
    """One subscription, grant or meter, read with its customer."""
    customer: Customer = row.customer
    observed = customer.observation.state_observed_at
    freshness = Freshness(f"child {row.pk} {customer.synced_at}", customer.synced_at, observed)
    return freshness.answer_unmodified(request) or freshness.mark(request, Response(show(row)))


def _get_oldest_success(request: Request) -> datetime | None:
    """As of when it is known that there is nothing, of all organizations that the caller may see."""
    oldest: datetime | None = filter_organizations(request).aggregate(at=Min("last_succeeded_at"))["at"]
    return oldest
