"""Which operation a path means, matched as Polar's framework does: in order, on the decoded path.

The operations carry the names of https://polar.sh/docs/api-reference (`operationId` in the contract, where only
`customer-meters:list` is spelt differently, `customer_meters:list`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from polar_sync.testing.wire import refuse_method, refuse_route

READ = ("customers:read", "customers:write")
WRITE = ("customers:write",)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: what it is called, where it lives and which scopes (any of them) open it."""

    operation: str
    method: str
    pattern: re.Pattern[str]
    scopes: tuple[str, ...]
    is_portal: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A route that a request hit, with the parameters in its path."""

    route: Route
    parameters: dict[str, str]


def _route(operation: str, method: str, path: str, scopes: tuple[str, ...], *, is_portal: bool = False) -> Route:
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path), re.DOTALL)
    return Route(operation, method, pattern, scopes, is_portal)


# The order decides: `/v1/customers/external/state` is a customer with the external id `state`.
ROUTES = (
    _route("customers:list", "GET", "/v1/customers/", READ),
    _route("customers:create", "POST", "/v1/customers/", WRITE),
    _route("customers:export", "GET", "/v1/customers/export", READ),
    _route("customers:get", "GET", "/v1/customers/{id}", READ),
    _route("customers:update", "PATCH", "/v1/customers/{id}", WRITE),
    _route("customers:delete", "DELETE", "/v1/customers/{id}", WRITE),
    _route("customers:get_external", "GET", "/v1/customers/external/{external_id}", READ),
    _route("customers:update_external", "PATCH", "/v1/customers/external/{external_id}", WRITE),
    _route("customers:delete_external", "DELETE", "/v1/customers/external/{external_id}", WRITE),
    _route("customers:get_state", "GET", "/v1/customers/{id}/state", READ),
    _route("customers:get_state_external", "GET", "/v1/customers/external/{external_id}/state", READ),
    _route("customers:get_balance", "GET", "/v1/customers/{id}/balance", READ),
    _route(
        "customer_portal:customers:get",
        "GET",
        "/v1/customer-portal/customers/me",
        ("customer_portal:read", "customer_portal:write"),
        is_portal=True,
    ),
    _route("subscriptions:list", "GET", "/v1/subscriptions/", ("subscriptions:read", "subscriptions:write")),
    _route("benefit-grants:list", "GET", "/v1/benefit-grants/", ("benefits:read", "benefits:write")),
    _route("customer-meters:list", "GET", "/v1/customer-meters/", ("customer_meters:read",)),
    _route("products:list", "GET", "/v1/products/", ("products:read", "products:write")),
    _route("benefits:list", "GET", "/v1/benefits/", ("benefits:read", "benefits:write")),
    _route("meters:list", "GET", "/v1/meters/", ("meters:read", "meters:write")),
    _route("customer-sessions:create", "POST", "/v1/customer-sessions/", ("customer_sessions:write",)),
)
OPERATIONS = tuple(route.operation for route in ROUTES)
OLD_ROUTES = frozenset({"customers:get_balance"})


def match_route(method: str, path: str, *, has_balance: bool) -> Match | str:
    """The operation for a request, or the path to be redirected to because of a slash too many or too few.

    Raises the 404 or 405 that Polar answers otherwise.
    """
    found = _match(method, path, has_balance=has_balance)
    if isinstance(found, Match):
        return found
    if found is not None:
        raise refuse_method(found.method)
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    if other and _match(method, other, has_balance=has_balance) is not None:
        return other
    raise refuse_route()


def _match(method: str, path: str, *, has_balance: bool) -> Match | Route | None:
    """The first route that fits whole, else the first whose path fits, else None."""
    partial = None
    for route in ROUTES:
        if route.operation in OLD_ROUTES and not has_balance:
            continue
        hit = route.pattern.fullmatch(path)
        if hit is None:
            continue
        if route.method == method:
            return Match(route, hit.groupdict())
        partial = partial or route
    return partial
