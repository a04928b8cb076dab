"""Responses of mirrored data, each with its age, and 304 where the caller has it already.

`Last-Modified` and `ETag` tell of the last change, `X-Polar-Observed-At` when Polar last confirmed what is answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Min
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync.models import Customer
from polar_sync.payloads import dump_canonical
from polar_sync.rest.errors import ResourceNotFoundError
from polar_sync.rest.pagination import Page
from polar_sync.rest.queries import CustomerRow, filter_organizations, load_state
from polar_sync.rest.renderers import JSONText

OBSERVED_AT = "X-Polar-Observed-At"
_SETTLED = timedelta(minutes=1)
"""After which no transaction is still open that could bring an earlier change to light."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """When what is answered last changed here, as of when it is known to be true, and what identifies its content.

    `is_dated` says that nothing but a change after `modified_at` can alter the answer; a list is not, as rows leave it.
    """

    key: str
    modified_at: datetime | None
    observed_at: datetime | None
    is_dated: bool = True

    def get_unmodified_response(self, request: Request) -> HttpResponseBase | None:
        """304 where the caller's copy is still good, else None."""
        last = self._get_last_second() if self.is_dated else None
        django_request = request._request  # noqa: SLF001 - Django's helper needs Django's request
        answer = get_conditional_response(django_request, etag=self._get_etag(request), last_modified=last)
        if answer is None:
            return None
        bare = HttpResponse(status=answer.status_code)
        del bare["Content-Type"]
        return self.mark(request, bare)

    def mark(self, request: Request, response: HttpResponseBase) -> HttpResponseBase:
        """Put the headers on an answer."""
        response["ETag"] = self._get_etag(request)
        # A cache on the way must never guess how long somebody's data stays good.
        response["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ("Authorization", "Cookie"))
        if self.modified_at is not None:
            is_settled = self.modified_at < timezone.now() - _SETTLED
            response["Last-Modified"] = http_date(self._get_last_second() - (0 if is_settled else 1))
        if self.observed_at is not None:
            response[OBSERVED_AT] = format_instant(self.observed_at)
        return response

    def _get_etag(self, request: Request) -> str:
        renderer = getattr(request.accepted_renderer, "format", "")
        return f'"{hashlib.sha256(f"{renderer} {self.key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'

    def _get_last_second(self) -> int:
        """The first whole second after the last change, so that a later change in the same second is not missed.

        A change that is still young is told of with the second before, for which nobody ever gets a 304.
        """
        return int(self.modified_at.timestamp()) + 1 if self.modified_at else 0


def describe_customer(customer: CustomerRow, *, kind: str) -> Freshness:
    """Of one customer; `kind` tells apart what is answered about it."""
    times = [customer.observed_at]
    if kind == "state":
        times.append(customer.state_observed_at)
    return Freshness(f"{kind} {customer.pk} {customer.synced_at}", customer.synced_at, _min(times))


def describe_rows(
    rows: Iterable[tuple[object, datetime | None, datetime | None]], *, key: str, fallback: datetime | None
) -> Freshness:
    """Of a list of (id, modified, observed): as old as its oldest row, `fallback` where it has none."""
    seen = list(rows)
    content = hashlib.sha256(repr([(str(pk), modified) for pk, modified, _ in seen]).encode()).hexdigest()
    modified = max((at for _, at, _ in seen if at is not None), default=fallback)
    observed = _min([at for _, _, at in seen]) if seen else fallback
    return Freshness(f"{key} {content}", modified, observed, is_dated=False)


def format_instant(instant: datetime) -> str:
    """As Polar writes one."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _min(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def customer_response(request: Request, customer: CustomerRow) -> HttpResponseBase:
    """A customer's own fields."""
    freshness = describe_customer(customer, kind="customer")
    return freshness.get_unmodified_response(request) or freshness.mark(request, Response(JSONText(customer.to_json())))


def portal_response(request: Request, customer: CustomerRow, data: dict[str, Any]) -> HttpResponseBase:
    """What a customer may see of their own fields."""
    freshness = describe_customer(customer, kind="portal")
    return freshness.get_unmodified_response(request) or freshness.mark(request, Response(data))


def state_response(request: Request, customer: CustomerRow) -> HttpResponseBase:
    """A customer's state; the children are loaded only where the caller does not have them yet."""
    freshness = describe_customer(customer, kind="state")
    unmodified = freshness.get_unmodified_response(request)
    if unmodified is not None:
        return unmodified
    # Read after the times, so that what is answered is never older than its headers say.
    state = load_state(customer.pk)
    if state is None:
        raise ResourceNotFoundError
    return freshness.mark(request, Response(state))


def customers_response(request: Request, page: Page) -> HttpResponseBase:
    """A page of customers."""
    rows: Sequence[CustomerRow] = page.rows
    times = [(row.pk, row.synced_at, row.observed_at) for row in rows]
    return _answer_page(request, page, times, show=lambda: [row.to_json() for row in rows])


def children_response(request: Request, page: Page, *, show: Callable[[Any], dict[str, Any]]) -> HttpResponseBase:
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
    unmodified = freshness.get_unmodified_response(request)
    if unmodified is not None:
        return unmodified
    body = f'{{"items":[{",".join(show())}],"pagination":{dump_canonical(page.pagination)}}}'
    return freshness.mark(request, Response(JSONText(body)))


def child_response(request: Request, row: Any, *, show: Callable[[Any], dict[str, Any]]) -> HttpResponseBase:
    """One subscription, grant or meter, read with its customer."""
    customer: Customer = row.customer
    observed = customer.observation.state_observed_at
    freshness = Freshness(f"child {row.pk} {customer.synced_at}", customer.synced_at, observed)
    return freshness.get_unmodified_response(request) or freshness.mark(request, Response(show(row)))


def _get_oldest_success(request: Request) -> datetime | None:
    """As of when it is known that there is nothing, of all organizations that the caller may see."""
    oldest: datetime | None = filter_organizations(request).aggregate(at=Min("last_succeeded_at"))["at"]
    return oldest
