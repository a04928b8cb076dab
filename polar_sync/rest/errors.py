"""Errors in the bodies that Polar gives them: https://polar.sh/docs/api-reference/introduction."""

from __future__ import annotations

import copyreg
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from polar_sync import exceptions as polar
from polar_sync.rest.validation import Detail, ParameterError, make_detail

logger = logging.getLogger(__name__)

REALM = 'Bearer realm="polar"'
_INVALID_TOKEN = "The access token provided is expired, revoked, malformed, or invalid for other reasons."  # noqa: S105
_INSUFFICIENT_SCOPE = "The request requires higher privileges than provided by the access token."
_BLAME: tuple[tuple[tuple[type[polar.PolarSyncError], ...], int, str], ...] = (
    (
        (polar.NetworkError, polar.BudgetError, polar.ClientClosedError),
        503,
        "Polar could not be asked just now. Try again.",
    ),
    ((polar.RequestRefusedError,), 502, "Polar refused the request."),
    ((polar.PolarError, polar.DeniedStateError), 502, "Polar did not give a usable answer."),
    ((polar.PolarSyncError,), 503, "This mirror is not set up to ask Polar for that."),
)


class ApiError(exceptions.APIException):
    """The request ends with this response; a body of None is none."""

    def __init__(self, status: int, body: Any, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body)
        self.status_code = status
        self.body = body
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # As for `PolarSyncError`: Python's own would call the class with what its base was given.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class ResourceNotFoundError(ApiError):
    """For an object that the mirror does not have, or not for this caller."""

    def __init__(self) -> None:
        super().__init__(404, {"error": "ResourceNotFound", "detail": "Not found"})


class UnknownRouteError(ApiError):
    """For a path or a version that there is not."""

    def __init__(self) -> None:
        super().__init__(404, {"detail": "Not Found"})


class RequestValidationError(ApiError):
    """For values that do not fit, each with its place."""

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__(422, {"error": "RequestValidationError", "detail": list(details)})

    @classmethod
    def of_value(cls, kind: str, location: tuple[str | int, ...], message: str, value: Any) -> Self:
        """For one value."""
        return cls([make_detail(kind, location, message, value)])


class UnauthorizedError(ApiError):
    """Without a token, or with one that is for something else."""

    def __init__(self) -> None:
        body = {"error": "Unauthorized", "detail": "Unauthorized"}
        super().__init__(401, body, headers={"WWW-Authenticate": REALM})


class InvalidTokenError(ApiError):
    """For a token that nobody has."""

    def __init__(self) -> None:
        challenge = f'{REALM}, error="invalid_token", error_description="{_INVALID_TOKEN}"'
        body = {"error": "invalid_token", "error_description": _INVALID_TOKEN}
        super().__init__(401, body, headers={"WWW-Authenticate": challenge})


class InsufficientScopeError(ApiError):
    """For a caller without the permission; `scopes` are Polar's words for what would do."""

    def __init__(self, scopes: Sequence[str]) -> None:
        reason = f'error="insufficient_scope", error_description="{_INSUFFICIENT_SCOPE}"'
        challenge = f'{REALM}, scope="{" ".join(scopes)}", {reason}'
        body = {"error": "insufficient_scope", "error_description": _INSUFFICIENT_SCOPE}
        super().__init__(403, body, headers={"WWW-Authenticate": challenge})


class ConflictError(ApiError):
    """What is asked for does not fit what is going on."""

    def __init__(self, error: str, detail: str, **more: Any) -> None:
        super().__init__(409, {"error": error, "detail": detail, **more})


class ThrottledError(ApiError):
    """Too many requests, for so many seconds."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(429, None, headers={"Retry-After": str(max(1, math.ceil(seconds or 1)))})


def handle_error(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """The answer to an error of a view; None for one that nobody expected."""
    response_error = _translate(error, context)
    if response_error is None:
        return None
    set_rollback()
    return Response(response_error.body, status=response_error.status_code, headers=response_error.headers)


def _translate(error: Exception, context: Mapping[str, Any]) -> ApiError | None:
    match error:
        case ApiError():
            response_error: ApiError | None = error
        case ParameterError():
            response_error = RequestValidationError(error.details)
        case polar.PolarSyncError():
            response_error = translate_polar_error(error)
        case Http404():
            response_error = UnknownRouteError()
        case exceptions.APIException() | PermissionDenied():
            response_error = _translate_exception(error, context)
        case _:
            response_error = None
    return response_error


def _translate_exception(error: Exception, context: Mapping[str, Any]) -> ApiError:
    response_error: ApiError
    match error:
        case exceptions.AuthenticationFailed():
            response_error = InvalidTokenError()
        case exceptions.NotAuthenticated():
            response_error = UnauthorizedError()
        case exceptions.PermissionDenied() | PermissionDenied():
            response_error = _translate_permission(error, context)
        case exceptions.Throttled():
            response_error = ThrottledError(getattr(error, "wait", None))
        case exceptions.MethodNotAllowed():
            allowed = ", ".join(context["view"].allowed_methods)
            response_error = ApiError(405, {"detail": "Method Not Allowed"}, headers={"Allow": allowed})
        case _:
            status = getattr(error, "status_code", 400)
            response_error = ApiError(status, {"error": type(error).__name__, "detail": str(error)})
    return response_error


def _translate_permission(error: Exception, context: Mapping[str, Any]) -> ApiError:
    if str(error).startswith("CSRF"):
        return ApiError(403, {"error": "Forbidden", "detail": str(error)})
    return InsufficientScopeError(context["view"].get_scopes())


def translate_polar_error(error: polar.PolarSyncError) -> ApiError:
    """What the caller is told of an error that asking Polar ended in: Polar's refusals as they are, never a token."""
    match error:
        case polar.ValidationError():
            body = {"error": error.error or "RequestValidationError", "detail": list(error.fields)}
            response_error = ApiError(422, body)
        case polar.NotFoundError():
            response_error = ResourceNotFoundError()
        case polar.BalanceUnavailableError():
            reason = "This Polar server no longer has the balance operation (removed in 2026)."
            response_error = ApiError(404, {"detail": "Not Found"}, headers={"X-Polar-Sync-Reason": reason})
        case polar.RateLimitError() | polar.BudgetWaitError():
            response_error = ThrottledError(error.retry_in)
        case polar.RunActiveError():
            response_error = ConflictError("RunActive", str(error), run=error.run_id)
        case _:
            response_error = _blame_polar(error)
    return response_error


def _blame_polar(error: polar.PolarSyncError) -> ApiError:
    """The caller is told of no address and no cause; who runs the mirror finds them in the log."""
    logger.warning("REST: %s", error)
    status, detail = next((status, detail) for kinds, status, detail in _BLAME if isinstance(error, kinds))
    headers = {} if error.permanent else {"Retry-After": "5"}
    return ApiError(status, {"error": type(error).__name__, "detail": detail}, headers=headers)
