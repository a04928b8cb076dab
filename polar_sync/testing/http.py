"""HTTP as the fake server sees it: a request, the operation that its path means, a response.

The operations carry the names of https://polar.sh/docs/api-reference (`operationId` in the contract, where only
`customer-meters:list` is spelt differently, `customer_meters:list`).
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

Detail = dict[str, Any]

REALM = 'Bearer realm="polar"'
INVALID_TOKEN = "The access token provided is expired, revoked, malformed, or invalid for other reasons."  # noqa: S105  a message
INSUFFICIENT_SCOPE = "The request requires higher privileges than provided by the access token."
READ = ("customers:read", "customers:write")
WRITE = ("customers:write",)
READ_WEBHOOKS = ("webhooks:read", "webhooks:write")
WRITE_WEBHOOKS = ("webhooks:write",)
OLD_ROUTES = frozenset({"customers:get_balance"})


class ConnectionCutError(Exception):
    """The fake server closed the connection instead of answering.

    `FakePolar.handle` raises it for a fault of the kind `cut`; `FakePolarServer` closes the socket.
    """


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `path` is percent-decoded, as Polar routes on the decoded path; header names are lower-case."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query's pairs in the order sent, blank values included."""
        return parse_qsl(self.query_string, keep_blank_values=True)


def read_request(
    method: str, path_with_query: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Request:
    """Split a request target such as `/v1/customers/?page=2`; a fragment is dropped, as it is never sent."""
    path, _, query = path_with_query.partition("#")[0].partition("?")
    names = {name.lower(): value for name, value in (headers or {}).items()}
    return Request(method.upper(), unquote(path) if "%" in path else path, query, names, body)


@dataclass(slots=True)
class Answer:
    """What goes back: `headers` without `Date`, `Polar-Version` and `Content-Length`, which every answer gets."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    is_streamed: bool = False


class RefusalError(Exception):
    """The request ends here with `answer`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def dump_json(value: Any) -> bytes:
    """JSON in ASCII: a lone surrogate, which UTF-8 cannot carry, goes out as its escape."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def get_phrase(status: int) -> str:
    """The words beside a status; proxies also use numbers that have none, such as 520."""
    return http.client.responses.get(status, "Unknown")


def format_timestamp(moment: datetime) -> str:
    """Polar's way to write an instant: UTC with `Z`, microseconds only where they are not zero."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def json_response(value: Any, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An answer whose body is `value` as JSON."""
    return body_response(dump_json(value), status=status, headers=headers)


def body_response(body: bytes, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An answer whose body is JSON already written."""
    return Answer(status, body, [("Content-Type", "application/json"), *headers])


def list_headers(answer: Answer, *, date: datetime, version: str | None, is_truncated: bool) -> list[tuple[str, str]]:
    """All headers of an answer to a `version`, None for an unknown one; a truncated one tells the whole length."""
    headers = [*answer.headers, ("Date", format_datetime(date, usegmt=True))]
    if version is not None:
        headers.append(("Polar-Version", version))
    if is_truncated or not (answer.is_streamed or answer.status == HTTPStatus.NO_CONTENT):
        headers.append(("Content-Length", str(len(answer.body))))
    return headers


def redirect(request: Request, path: str) -> Answer:
    """307 to the same place with a slash more or less; the query goes along."""
    host = request.headers.get("host", "polar.test")
    query = f"?{request.query_string}" if request.query_string else ""
    return Answer(307, b"", [("Location", f"http://{host}{quote(path)}{query}")])


def refuse_route() -> RefusalError:
    """404 for a route or version that the server does not have."""
    return RefusalError(json_response({"detail": "Not Found"}, status=404))


def refuse_missing() -> RefusalError:
    """404 for an object that does not exist for this token."""
    return RefusalError(json_response({"error": "ResourceNotFound", "detail": "Not found"}, status=404))


def refuse_method(allowed: str) -> RefusalError:
    """405; Polar names the first method of the path only."""
    return RefusalError(json_response({"detail": "Method Not Allowed"}, status=405, headers=[("Allow", allowed)]))


def refuse_unauthorized() -> RefusalError:
    """401 without a token, or with a token of the wrong kind."""
    body = {"error": "Unauthorized", "detail": "Unauthorized"}
    return RefusalError(json_response(body, status=401, headers=[("WWW-Authenticate", REALM)]))


def refuse_token() -> RefusalError:
    """401 for a token that is unknown, expired or revoked."""
    challenge = f'{REALM}, error="invalid_token", error_description="{INVALID_TOKEN}"'
    body = {"error": "invalid_token", "error_description": INVALID_TOKEN}
    return RefusalError(json_response(body, status=401, headers=[("WWW-Authenticate", challenge)]))


def refuse_scope(scopes: Sequence[str]) -> RefusalError:
    """403; the challenge names the scopes of which one would do."""
    challenge = (
        f'{REALM}, scope="{" ".join(scopes)}", error="insufficient_scope", error_description="{INSUFFICIENT_SCOPE}"'
    )
    body = {"error": "insufficient_scope", "error_description": INSUFFICIENT_SCOPE}
    return RefusalError(json_response(body, status=403, headers=[("WWW-Authenticate", challenge)]))


def refuse_rate(retry_after: float | str) -> RefusalError:
    """429 with an empty body; seconds are written whole, text (such as a date) as it is."""
    text = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
    return RefusalError(Answer(429, b"", [("Retry-After", text)]))


def refuse_request(details: Sequence[Detail]) -> RefusalError:
    """422 for values that do not fit the schema."""
    body = {"error": "RequestValidationError", "detail": list(details)}
    return RefusalError(json_response(body, status=422))


def refuse_values(details: Sequence[Detail]) -> RefusalError:
    """422 for values that fit the schema and that Polar still does not take."""
    body = {"error": "PolarRequestValidationError", "detail": list(details)}
    return RefusalError(json_response(body, status=422))


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
    _route("webhooks:list_webhook_endpoints", "GET", "/v1/webhooks/endpoints", READ_WEBHOOKS),
    _route("webhooks:create_webhook_endpoint", "POST", "/v1/webhooks/endpoints", WRITE_WEBHOOKS),
    _route("webhooks:get_webhook_endpoint", "GET", "/v1/webhooks/endpoints/{id}", READ_WEBHOOKS),
    _route("webhooks:update_webhook_endpoint", "PATCH", "/v1/webhooks/endpoints/{id}", WRITE_WEBHOOKS),
    _route("webhooks:delete_webhook_endpoint", "DELETE", "/v1/webhooks/endpoints/{id}", WRITE_WEBHOOKS),
    _route("webhooks:reset_webhook_endpoint_secret", "PATCH", "/v1/webhooks/endpoints/{id}/secret", WRITE_WEBHOOKS),
    _route("webhooks:list_webhook_deliveries", "GET", "/v1/webhooks/deliveries", READ_WEBHOOKS),
    _route("webhooks:redeliver_webhook_event", "POST", "/v1/webhooks/events/{id}/redeliver", WRITE_WEBHOOKS),
)
OPERATIONS = tuple(route.operation for route in ROUTES)


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
