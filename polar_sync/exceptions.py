"""Every error that polar_sync raises on purpose. No Django here: the client is usable without it."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polar_sync.payloads.interval import Interval


class PolarSyncError(Exception):
    """Base of all errors of this package.

    `permanent` says that trying the same again cannot help until a person changes something.
    """

    permanent: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own would call the class with the message alone, which most of these cannot be made of.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class ConfigurationError(PolarSyncError):
    """A setting or an argument is wrong; the message names it and what is allowed."""


class PayloadError(PolarSyncError):
    """One object that Polar sent cannot be mirrored. `reason` is safe to store and to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PolarError(PolarSyncError):
    """A request to Polar did not get the answer that was asked for.

    `method`, `path` (without query), `status` (None where there was no answer), `error` (Polar's own name for it,
    None where it gave none) and `interval` (when Polar read what it answered, None where it did not answer)
    describe the request. Neither the message nor an attribute carries a token.
    """

    permanent = False

    def __init__(
        self,
        message: str,
        *,
        method: str,
        path: str,
        status: int | None = None,
        error: str | None = None,
        interval: Interval | None = None,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.status = status
        self.error = error
        self.interval = interval


class AuthenticationError(PolarError):
    """401: the token is missing, wrong, expired or revoked."""

    permanent = True


class MissingScopeError(PolarError):
    """403: the token lacks a scope; `scopes` are those that Polar named in `WWW-Authenticate`."""

    permanent = True

    def __init__(self, message: str, *, scopes: Sequence[str] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.scopes = tuple(scopes)


class NotFoundError(PolarError):
    """404 with the `ResourceNotFound` body: Polar says that this object does not exist for this token."""

    permanent = True


class RouteNotFoundError(PolarError):
    """404 without that body: no such route or API version. Says nothing about any customer."""

    permanent = True


class BalanceUnavailableError(RouteNotFoundError):
    """This Polar server no longer has the balance operation (removed in 2026)."""


class VersionMismatchError(PolarError):
    """The server answered in another API version than the one asked for, so its shapes cannot be relied on."""

    permanent = True


class ValidationError(PolarError):
    """422: Polar refused the values; `fields` holds its `detail` list (`type`, `loc`, `msg`, …)."""

    permanent = True

    def __init__(self, message: str, *, fields: Sequence[dict[str, Any]] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.fields = tuple(fields)


class RequestRefusedError(PolarError):
    """Any other 4xx, such as 405 or a 403 that is not about scopes."""

    permanent = True


class RateLimitError(PolarError):
    """429: over the request limit; `retry_in` is the number of seconds until Polar takes requests again."""

    def __init__(self, message: str, *, retry_in: float, **context: Any) -> None:
        super().__init__(message, **context)
        self.retry_in = retry_in


class ServerError(PolarError):
    """5xx, whatever its body."""


class NetworkError(PolarError):
    """No answer: connection refused, cut or timed out."""


class UnreadableAnswerError(PolarError):
    """A success status whose body is not what the contract says: HTML, truncated JSON, wrong shape."""


class DeniedStateError(PolarSyncError):
    """Polar has a customer and says that its state does not exist; nothing was written of it. Try again later."""

    permanent = False


class BudgetError(PolarSyncError):
    """The shared request budget did not let a request through."""

    permanent = False


class BudgetWaitError(BudgetError):
    """The budget is used up for longer than the caller is willing to wait; try again in `retry_in` seconds."""

    def __init__(self, message: str, *, retry_in: float) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class BudgetStorageError(BudgetError):
    """The storage that the budget is shared through does not answer."""


class ClientClosedError(PolarSyncError):
    """The client was closed while this thread waited or asked."""

    permanent = False


class OrganizationMismatchError(PolarSyncError):
    """Polar answered with customers of another organization than this one; nothing was written."""


class RunActiveError(PolarSyncError):
    """Another run of this organization is active; only one may be."""

    permanent = False

    def __init__(self, message: str, *, run_id: int) -> None:
        super().__init__(message)
        self.run_id = run_id


class SignatureError(PolarSyncError):
    """A webhook delivery that Polar did not sign, or not lately; `reason` is safe to store and to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
