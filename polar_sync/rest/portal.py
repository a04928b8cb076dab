"""The customer's own view: of the user who is signed in, or of a customer session on Polar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.utils.module_loading import import_string
from rest_framework.request import Request

from polar_sync.client import PortalClient, RequestBudget
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import AuthenticationError
from polar_sync.models import Customer
from polar_sync.rest.authentication import SessionToken
from polar_sync.rest.errors import InvalidTokenError, ResourceNotFoundError
from polar_sync.rest.queries import CustomerRow, filter_customers, find_external, get_rows

CACHE_SECONDS = 60
CONFIRMED_SECONDS = 900
"""For which a session token that Polar knew is told apart from those that anybody may have made up."""
_PATIENCE = 2.0
"""Seconds that a caller waits for the request budget."""
_BUDGET_SHARE = 5
"""A fifth of an organization's requests, at most: session tokens that somebody makes up must not hold up its runs.

Those that Polar has confirmed have another fifth, which those cannot use up.
"""
# What Polar's contract shows to a customer; everything else, known or not, is the organization's.
FIELDS = (
    *("id", "created_at", "modified_at", "email", "email_verified", "name", "billing_name", "billing_address"),
    *("tax_id", "default_payment_method_id", "type", "locale"),
)
Resolver = Callable[[AbstractBaseUser], Customer | None]


def find_own_customer(request: Request) -> CustomerRow:
    """The living customer linked to the signed-in user: by `CUSTOMER_RESOLVER`, else external id = user id.

    Never by email, which anybody may claim. Raises 404 where there is none.
    """
    path = settings.customer_resolver
    if path is None:
        customer = find_external(request, str(request.user.pk), is_restricted=False)
    else:
        found = cast("Resolver", import_string(path))(request.user)  # type: ignore[arg-type]
        pk = None if found is None else found.pk
        rows = get_rows(filter_customers(request, is_restricted=False).filter(pk=pk)) if pk else []
        customer = rows[0] if rows else None
    if customer is None:
        raise ResourceNotFoundError
    return customer


def show_customer(customer: CustomerRow) -> dict[str, Any]:
    """A customer as https://polar.sh/docs/api-reference/customer-portal/customers/get.

    Polar tells nobody but the customer of `oauth_accounts`, so the mirror has none.
    """
    data = customer.to_polar()
    return {**{name: data.get(name) for name in FIELDS}, "oauth_accounts": {}}


def ask_polar(token: SessionToken) -> dict[str, Any]:
    """Polar's own answer to a session token, up to a minute old; kept under a keyed hash, never the token.

    Raises 401 where no organization's server knows the token; that is kept too.
    """
    key = f"polar_sync:portal:{token.get_key()}"
    kept: dict[str, Any] | None = cache.get(key)
    if kept is None:
        kept = {"customer": _ask_servers(token)}
        cache.set(key, kept, CACHE_SECONDS)
        _remember(token, is_known=kept["customer"] is not None)
    if kept["customer"] is None:
        raise InvalidTokenError
    customer: dict[str, Any] = kept["customer"]
    return customer


def is_confirmed(token: SessionToken) -> bool:
    """Whether Polar knew this session token within the last quarter of an hour."""
    return cache.get(_get_confirmation(token)) is not None


def _remember(token: SessionToken, *, is_known: bool) -> None:
    if is_known:
        cache.set(_get_confirmation(token), True, CONFIRMED_SECONDS)
    else:
        cache.delete(_get_confirmation(token))


def _get_confirmation(token: SessionToken) -> str:
    return f"polar_sync:portal:confirmed:{token.get_key()}"


def _ask_servers(token: SessionToken) -> dict[str, Any] | None:
    kind = "portal/confirmed" if is_confirmed(token) else "portal"
    for organization in _get_servers():
        budget = RequestBudget(
            organization=f"{organization.name}/{kind}",
            requests_per_minute=max(1, organization.requests_per_minute // _BUDGET_SHARE),
            storage=settings.throttle_storage,
            max_wait=_PATIENCE,
        )
        with PortalClient(
            token.value,
            server=organization.server,
            budget=budget,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_attempts=2,
        ) as client:
            try:
                return dict(client.customers.get())
            except AuthenticationError:
                continue
    return None


def _get_servers() -> Iterator[OrganizationSettings]:
    """One organization for each server: a session token does not tell whose it is."""
    seen: set[str] = set()
    for organization in settings.organizations.values():
        if organization.server not in seen:
            seen.add(organization.server)
            yield organization
