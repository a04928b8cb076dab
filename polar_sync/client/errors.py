"""From a response that is not the one asked for, or from none, to the error that says so.

https://polar.sh/docs/api-reference/introduction; the bodies are those of a running server.
"""

from __future__ import annotations

import re
import ssl
from http import HTTPStatus
from typing import Any

from requests import exceptions as http
from urllib3.exceptions import LocationValueError

from polar_sync.client.responses import PolarResponse, is_success
from polar_sync.exceptions import (
    AuthenticationError,
    BalanceUnavailableError,
    MissingScopeError,
    NotFoundError,
    PolarError,
    RateLimitError,
    RequestRefusedError,
    RouteNotFoundError,
    ServerError,
    UnreadableAnswerError,
    ValidationError,
    VersionMismatchError,
)

DEFAULT_RETRY_AFTER = 1.0
# Characters of what a server says that a message repeats.
LONGEST_QUOTE = 500
SCOPES = re.compile(r'\bscope="([^"]*)"')
# requests lets urllib3's own complaint about a host pass.
UNUSABLE_ADDRESS = (http.InvalidURL, http.InvalidSchema, http.MissingSchema, LocationValueError)


def make_error(
    response: PolarResponse, *, token_kind: str, version: str, retry_after: float | None = None
) -> PolarError | None:
    """Return the error of an answer, None for a success in the version asked for.

    `token_kind` names the token, `retry_after` is the number of seconds that the answer asks to wait, None for none.
    """
    answered = response.headers.get("Polar-Version", version)
    # Of the answers that say something about a customer; others are what their status says in any version.
    if answered != version and (is_success(response.status) or response.status == HTTPStatus.NOT_FOUND):
        return _make_version_error(response, asked=version, answered=answered)
    if is_success(response.status):
        return None
    return _make_failure(response, token_kind=token_kind, version=version, retry_after=retry_after)


def _make_failure(response: PolarResponse, *, token_kind: str, version: str, retry_after: float | None) -> PolarError:
    body = _read_error_body(response)
    match response.status:
        case HTTPStatus.UNAUTHORIZED:
            return _make(AuthenticationError, response, body, _explain_authentication(token_kind))
        case HTTPStatus.FORBIDDEN:
            return _make_forbidden(response, body, token_kind=token_kind)
        case HTTPStatus.NOT_FOUND:
            return _make_not_found(response, body, version=version)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return _make_validation(response, body)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _make_rate_limit(response, body, retry_after=retry_after)
        case _:
            return _make_other(response, body)


def _read_error_body(response: PolarResponse) -> dict[str, Any]:
    return response.content if isinstance(response.content, dict) else {}


def _make(
    error: type[PolarError], response: PolarResponse, body: dict[str, Any], message: str, **extra: Any
) -> PolarError:
    name = body.get("error")
    return error(
        f"{response.request.method} {response.request.path}: status {response.status}: {message}.",
        error=_cut(name) if isinstance(name, str) else None,
        **response.context,
        **extra,
    )


def _explain_authentication(token_kind: str) -> str:
    return f"Polar does not accept the {token_kind}: wrong, expired, revoked, or of the other server. Make a new one"


def _make_forbidden(response: PolarResponse, body: dict[str, Any], *, token_kind: str) -> PolarError:
    challenge = response.headers.get("WWW-Authenticate", "")
    if body.get("error") != "insufficient_scope" and "insufficient_scope" not in challenge:
        return _make(RequestRefusedError, response, body, f"Polar forbids it{_quote(body)}")
    found = SCOPES.search(challenge)
    scopes = found.group(1).split() if found else []
    wanted = _cut(" or ".join(scopes)) if scopes else "one that Polar did not name"
    message = f"the {token_kind} lacks a scope: {wanted}. Make a token that has it"
    return _make(MissingScopeError, response, body, message, scopes=scopes)


def _make_not_found(response: PolarResponse, body: dict[str, Any], *, version: str) -> PolarError:
    if body.get("error") == "ResourceNotFound":
        return _make(NotFoundError, response, body, "Polar has no such object, or not for this token")
    if response.request.is_balance and body.get("detail") == "Not Found":
        message = "this Polar server no longer has the balance operation (removed in 2026)"
        return _make(BalanceUnavailableError, response, body, message)
    message = (
        f"no such route, or no API version {version}, on this server. Says nothing about any customer; "
        "check the server and the version"
    )
    return _make(RouteNotFoundError, response, body, message)


def _make_rate_limit(response: PolarResponse, body: dict[str, Any], *, retry_after: float | None) -> PolarError:
    retry_in = DEFAULT_RETRY_AFTER if retry_after is None else retry_after
    message = f"over Polar's request limit; requests are taken again in {retry_in:.0f} s"
    return _make(RateLimitError, response, body, message, retry_in=retry_in)


def _make_other(response: PolarResponse, body: dict[str, Any]) -> PolarError:
    match str(response.status)[0]:
        case "3":
            return _make(RouteNotFoundError, response, body, _explain_redirect(response))
        case "4":
            return _make(RequestRefusedError, response, body, f"Polar refused the request{_quote(body)}")
        case "5":
            return _make(ServerError, response, body, "Polar's server failed; try again later")
        case _:
            return _make(
                UnreadableAnswerError, response, body, "HTTP has no such status; check that the server is Polar's"
            )


def _make_validation(response: PolarResponse, body: dict[str, Any]) -> PolarError:
    detail = body.get("detail")
    fields = [each for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    # `input` stays out of the message: it is the caller's own, often personal, data.
    causes = "; ".join(f"{_format_location(each.get('loc'))}: {each.get('msg')}" for each in fields)
    message = f"Polar refused the values{': ' + _cut(causes) if causes else _quote(body)}"
    return _make(ValidationError, response, body, message.rstrip("."), fields=fields)


def _format_location(location: object) -> str:
    return ".".join(str(part) for part in location) if isinstance(location, list) else "(somewhere)"


def _make_version_error(response: PolarResponse, *, asked: str, answered: str) -> PolarError:
    message = f"asked for API version {asked}, answered in {_cut(answered)!r}; ask for a version that the server has"
    return _make(VersionMismatchError, response, {}, message)


def _explain_redirect(response: PolarResponse) -> str:
    # The query may hold what was searched for, and nobody needs it to see the mistake.
    target = _cut(response.headers.get("Location", "nowhere").partition("?")[0])
    return f"redirected to {target}, which is not followed with a token. Check the server's address"


def _quote(body: dict[str, Any]) -> str:
    detail = body.get("detail", body.get("error_description"))
    return f": {_cut(detail)}".rstrip(".") if isinstance(detail, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def describe_failure(error: Exception, *, connect_timeout: float, read_timeout: float) -> str:
    """Return the cause of an error of requests, urllib3 or the socket.

    Their own texts and attributes are not for passing on: they carry the URL with its query, and the request with
    its Authorization header.
    """
    match error:
        case http.ConnectTimeout():
            return f"no connection within {connect_timeout:g} s"
        case http.Timeout():
            return f"no answer within {read_timeout:g} s"
        case http.ProxyError():
            return f"the proxy does not let it through ({_find_reason(error)})"
        case http.SSLError():
            return f"the server's certificate or TLS is not acceptable ({_find_reason(error)})"
        case TimeoutError():
            return "the answer did not come to an end in time"
        case _:
            return f"the connection failed or was cut ({_find_reason(error)})"


def _find_reason(error: BaseException) -> str:
    found = type(error).__name__
    for each in _walk(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        found = type(each).__name__
    return found


def _walk(error: BaseException) -> list[BaseException]:
    """Return the error and those it wraps: libraries put them into args, `reason`, `__cause__` and `__context__`."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if isinstance(each, BaseException) and not any(each is known for known in seen):
            seen.append(each)
            queue += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
    return seen
