"""Errors in the bodies that Polar gives them: https://polar.sh/docs/api-reference/introduction."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from polar_sync import exceptions as polar
from polar_sync.rest.details import Detail, ParameterError, make_detail

logger = logging.getLogger(__name__)

REALM = 'Bearer realm="polar"'
_INVALID_TOKEN = "The access token provided is expired, revoked, malformed, or invalid for other reasons."  # noqa: S105
_INSUFFICIENT_SCOPE = "The request requires higher privileges than provided by the access token."


class ApiError(Exception):
    """The request ends with this answer; a body of None is none."""

    def __init__(self, status: int, body: Any, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def refuse_missing() -> ApiError:
    """404 for an object that the mirror does not have, or not for this caller."""
    return ApiError(404, {"error": "ResourceNotFound", "detail": "Not found"})


def refuse_route() -> ApiError:
    """404 for a path or a version that there is not."""
    return ApiError(404, {"detail": "Not Found"})


def refuse_values(details: Sequence[Detail]) -> ApiError:
    """422 for values that do not fit."""
    return ApiError(422, {"error": "RequestValidationError", "detail": list(details)})


def refuse_value(kind: str, location: tuple[str | int, ...], message: str, value: Any) -> ApiError:
    """422 for one value that does not fit."""
    return refuse_values([make_detail(kind, location, message, value)])


def refuse_unauthorized() -> ApiError:
    """401 without a token, or with one that is for something else."""
    body = {"error": "Unauthorized", "detail": "Unauthorized"}
    return ApiError(401, body, headers={"WWW-Authenticate": REALM})


def refuse_token() -> ApiError:
    """401 for a token that nobody has."""
    challenge = f'{REALM}, error="invalid_token", error_description="{_INVALID_TOKEN}"'
    body = {"error": "invalid_token", "error_description": _INVALID_TOKEN}
    return ApiError(401, body, headers={"WWW-Authenticate": challenge})


def refuse_scope(scopes: Sequence[str]) -> ApiError:
    """403 for a caller without the permission; `scopes` are Polar's words for what would do."""
    challenge = (
        f'{REALM}, scope="{" ".join(scopes)}", error="insufficient_scope", error_description="{_INSUFFICIENT_SCOPE}"'
    )
    body = {"error": "insufficient_scope", "error_description": _INSUFFICIENT_SCOPE}
    return ApiError(403, body, headers={"WWW-Authenticate": challenge})


def refuse_conflict(error: str, detail: str, **more: Any) -> ApiError:
    """409: what is asked for does not fit what is going on."""
    return ApiError(409, {"error": error, "detail": detail, **more})


def handle_error(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """The answer to an error of a view; None for one that nobody expected."""
    told = _translate(error, context)
    if told is None:
        return None
    set_rollback()
    return Response(told.body, status=told.status, headers=told.headers)


def _translate(error: Exception, context: Mapping[str, Any]) -> ApiError | None:
    match error:
        case ApiError():
            told: ApiError | None = error
        case ParameterError():
            told = refuse_values(error.details)
        case polar.PolarSyncError():
            told = translate_polar_error(error)
        case Http404():
            told = refuse_route()
        case exceptions.APIException() | PermissionDenied():
            told = _translate_refusal(error, context)
        case _:
            told = None
    return told


def _translate_refusal(error: Exception, context: Mapping[str, Any]) -> ApiError:
    match error:
        case exceptions.AuthenticationFailed():
            told = refuse_token()
        case exceptions.NotAuthenticated():
            told = refuse_unauthorized()
        case exceptions.PermissionDenied() | PermissionDenied():
            told = _refuse_permission(error, context)
        case exceptions.Throttled():
            told = _refuse_rate(getattr(error, "wait", None))
        case exceptions.MethodNotAllowed():
            allowed = ", ".join(context["view"].allowed_methods)
            told = ApiError(405, {"detail": "Method Not Allowed"}, headers={"Allow": allowed})
        case _:
            status = getattr(error, "status_code", 400)
            told = ApiError(status, {"error": type(error).__name__, "detail": str(error)})
    return told


def _refuse_permission(error: Exception, context: Mapping[str, Any]) -> ApiError:
    if str(error).startswith("CSRF"):
        return ApiError(403, {"error": "Forbidden", "detail": str(error)})
    return refuse_scope(context["view"].get_scopes())


def _refuse_rate(seconds: float | None) -> ApiError:
    return ApiError(429, None, headers={"Retry-After": str(max(1, math.ceil(seconds or 1)))})


def translate_polar_error(error: polar.PolarSyncError) -> ApiError:
    """What the caller is told of an error that asking Polar ended in: Polar's refusals as they are, never a token."""
    match error:
        case polar.ValidationError():
            body = {"error": error.error or "RequestValidationError", "detail": list(error.fields)}
            told = ApiError(422, body)
        case polar.NotFoundError():
            told = refuse_missing()
        case polar.BalanceUnavailableError():
            reason = "This Polar server no longer has the balance operation (removed in 2026)."
            told = ApiError(404, {"detail": "Not Found"}, headers={"X-Polar-Sync-Reason": reason})
        case polar.RateLimitError() | polar.BudgetWaitError():
            told = _refuse_rate(error.retry_in)
        case polar.RunActiveError():
            told = refuse_conflict("RunActive", str(error), run=error.run_id)
        case _:
            told = _blame_polar(error)
    return told


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


def _blame_polar(error: polar.PolarSyncError) -> ApiError:
    """The caller is told of no address and no cause; who runs the mirror finds them in the log."""
    logger.warning("REST: %s", error)
    status, detail = next((status, detail) for kinds, status, detail in _BLAME if isinstance(error, kinds))
    headers = {} if error.permanent else {"Retry-After": "5"}
    return ApiError(status, {"error": type(error).__name__, "detail": detail}, headers=headers)
