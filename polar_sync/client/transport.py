"""How a request gets to Polar and its response back: budget, attempts, retries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from urllib3.exceptions import DecodeError, HTTPError

from polar_sync.client.clock import Stopwatch, get_server_clock, parse_http_date
from polar_sync.client.credentials import HEADER, Credential, Redactor
from polar_sync.client.errors import UNUSABLE_ADDRESS, describe_failure, make_error
from polar_sync.client.parameters import API_VERSION, SANDBOX, encode_query, resolve_server
from polar_sync.client.rate_limit import REQUESTS_PER_MINUTE, SANDBOX_REQUESTS_PER_MINUTE, RequestBudget
from polar_sync.client.responses import PolarRequest, PolarResponse, is_success, make_unreadable_error, parse_json
from polar_sync.client.retries import Attempts, parse_retry_after
from polar_sync.client.secrets import mask_secrets, redact_secrets, redact_text
from polar_sync.client.sessions import ThreadSessions, build_user_agent, describe_defect, quieted, read_body
from polar_sync.exceptions import (
    BudgetWaitError,
    ClientClosedError,
    ConfigurationError,
    NetworkError,
    PolarError,
    RateLimitError,
)

# How many read timeouts a whole body may take: one alone never ends a body that trickles in.
BODY_TIMEOUTS = 4
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """An attempt without the answer asked for: its error, and the seconds that the server asked to wait, if any."""

    error: PolarError
    retry_after: float | None = None


class Sender:
    """The way to one server with one token."""

    def __init__(
        self,
        *,
        credential: Credential,
        server: str,
        api_version: str,
        connect_timeout: float,
        read_timeout: float,
    ) -> None:
        self.server = server
        self._credential = credential
        self._redactor = Redactor(credential.token)
        self._api_version = api_version
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._clock = get_server_clock(server)
        self.sessions = ThreadSessions(
            headers={
                "Accept": "application/json",
                "Polar-Version": api_version,
                "User-Agent": build_user_agent(),
            }
        )

    def send(self, request: PolarRequest) -> PolarResponse | FailedAttempt:
        """Send a call once and return what came of it."""
        session = self.sessions.get()
        stopwatch = Stopwatch()
        outcome = self._ask(request, session, stopwatch)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def redact_text(self, text: str) -> str:
        """Return a text of the server's without the token."""
        return self._redactor.redact_text(text)

    def fail(self, request: PolarRequest, error: Exception) -> FailedAttempt:
        """Return the refusal of a call that got no whole answer; nothing of `error` itself is kept."""
        reason = describe_failure(error, connect_timeout=self._connect_timeout, read_timeout=self._read_timeout)
        advice = "try again later" if request.is_read else "it may have been done or not, so look before repeating it"
        message = f"{request.method} {request.path} on {self.server}: {reason}; {advice}."
        return FailedAttempt(error=NetworkError(message, method=request.method, path=request.path))

    def _send(
        self, request: PolarRequest, session: requests.Session
    ) -> requests.Response | FailedAttempt | BaseException:
        """Return the response, or the error to raise or to hand on.

        Returned, as an error that is raised in an `except` has the error of requests in its context, whose frames and
        attributes hold the Authorization header.
        """
        url = self._build_url(request)
        try:
            with quieted(self.server):
                http_response = session.request(
                    request.method,
                    url,
                    data=request.body,
                    headers={} if request.body is None else {"Content-Type": "application/json"},
                    auth=self._credential,
                    timeout=(self._connect_timeout, self._read_timeout),
                    # A redirect could carry the token to another host.
                    allow_redirects=False,
                    stream=True,
                )
        except UNUSABLE_ADDRESS:
            return ConfigurationError(
                f"The server's address {self.server}, or a proxy's in the environment, cannot be used; "
                "check its spelling."
            )
        except (requests.RequestException, HTTPError, OSError) as error:
            return self.fail(request, error)
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            # Such as the interruption of a worker. Only its frames within requests are dropped, for the same reason.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        http_response.request.headers.pop(HEADER, None)
        return http_response

    def _ask(
        self, request: PolarRequest, session: requests.Session, stopwatch: Stopwatch
    ) -> PolarResponse | FailedAttempt | BaseException:
        """Return what came of a call, or the error to raise, whose frames hold neither token nor webhook secret."""
        outcome = self._send(request, session)
        if not isinstance(outcome, requests.Response):
            return outcome
        try:
            return self._receive(request, outcome, stopwatch)
        except BaseException as error:
            if not request.has_secret:
                raise
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)

    def _build_url(self, request: PolarRequest) -> str:
        query = encode_query(request.query)
        return f"{self.server}{request.path}{'?' if query else ''}{query}"

    def _receive(
        self, request: PolarRequest, http_response: requests.Response, stopwatch: Stopwatch
    ) -> PolarResponse | FailedAttempt:
        interval = self._clock.read(http_response.headers, stopwatch=stopwatch)
        is_open = request.is_streamed and is_success(http_response.status_code)
        body: bytes | None = None
        defect = None
        try:
            if not is_open:
                body = read_body(http_response, deadline=time.monotonic() + BODY_TIMEOUTS * self._read_timeout)
        except (DecodeError, OverflowError) as error:
            defect = describe_defect(error)
        except (HTTPError, OSError) as error:
            return self.fail(request, error)
        finally:
            if not is_open:
                http_response.close()
        content, unreadable = self._read(request, body, status=http_response.status_code)
        response = PolarResponse(
            request=request,
            status=http_response.status_code,
            headers=self._redact_headers(request, http_response.headers),
            interval=interval,
            content=content,
            defect=defect or unreadable,
            size=len(body or b""),
            http_response=http_response if is_open else None,
        )
        return self._judge(response, defect=defect)

    def _redact_headers(self, request: PolarRequest, given: Mapping[str, str]) -> Mapping[str, str]:
        if request.has_secret:
            given = {name: redact_text(value) for name, value in given.items()}
        return self._redactor.redact_headers(given)

    def _read(self, request: PolarRequest, body: bytes | None, *, status: int) -> tuple[Any, str | None]:
        """The value of a body without the token and without webhook secrets, or why it has none."""
        if body is None:
            return None, None
        try:
            content = parse_json(body)
        except ValueError as error:
            return None, str(error)
        if is_success(status):
            content = self._redactor.redact_data(body, content)
            return (mask_secrets(content) if request.has_secret else content), None
        content = self._redactor.redact_error(content)
        return (redact_secrets(content) if request.has_secret else content), None

    def _judge(self, response: PolarResponse, *, defect: str | None) -> PolarResponse | FailedAttempt:
        now = parse_http_date(response.headers.get("Date")) or self._clock.now()
        retry_after = parse_retry_after(response.headers.get("Retry-After"), now=now)
        error = make_error(
            response, token_kind=self._credential.kind, version=self._api_version, retry_after=retry_after
        )
        if error is None and defect is not None:
            error = make_unreadable_error(response, defect)
        if error is None:
            return response
        response.close()
        return FailedAttempt(error=error, retry_after=retry_after)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a client has used so far, over all threads.

    `requests` are attempts sent, retries included; `throttled_seconds` were spent waiting for the request budget,
    pauses after a 429 included. `operations` tells the requests apart, such as "customers" (the list) or
    "customers/state".
    """

    requests: int = 0
    throttled_seconds: float = 0.0
    operations: Mapping[str, int] = field(default_factory=dict)


class Transport:
    """Sends the calls of one token to one server, from any number of threads.

    `server` is "production", "sandbox" or a URL, timeouts are in seconds, `max_attempts` counts the first one too.
    Wrong arguments raise ConfigurationError.
    """

    def __init__(
        self,
        *,
        credential: Credential,
        server: str,
        budget: RequestBudget | None,
        connect_timeout: float,
        read_timeout: float,
        max_attempts: int,
        version: str,
    ) -> None:
        self.server = resolve_server(server)
        self._budget = _build_default_budget(self.server) if budget is None else budget
        self._max_attempts = _check_attempts(max_attempts)
        self._sender = Sender(
            credential=credential,
            server=self.server,
            api_version=_check_version(version),
            connect_timeout=_check_timeout(connect_timeout, name="connect_timeout"),
            read_timeout=_check_timeout(read_timeout, name="read_timeout"),
        )
        self._usage = Usage()
        self._counting = threading.Lock()

    @property
    def usage(self) -> Usage:
        return self._usage

    def close(self) -> None:
        """Close the sessions of all threads; who waits for the budget or a retry gets ClientClosedError."""
        self._sender.sessions.close()

    def send(self, request: PolarRequest) -> PolarResponse:
        """Return the answer of a call that succeeded, however many attempts it took; else raise its error.

        With `request.is_streamed` the answer is open, and the caller closes it.
        """
        attempts = Attempts(request, max_attempts=self._max_attempts, max_wait=self._budget.max_wait)
        failed: FailedAttempt | None = None
        while True:
            self._pass_budget(request, failed)
            outcome = self._sender.send(request)
            if isinstance(outcome, PolarResponse):
                return outcome
            failed = outcome
            self._prepare_retry(attempts, failed)

    def redact_text(self, text: str) -> str:
        """Return a text of a streamed answer without the token."""
        return self._sender.redact_text(text)

    def make_stream_error(self, request: PolarRequest, error: Exception) -> PolarError:
        """Return the error of a streamed answer that broke off; nothing of `error` itself is kept."""
        return self._sender.fail(request, error).error

    def _prepare_retry(self, attempts: Attempts, failed: FailedAttempt) -> None:
        error, closed = failed.error, self._sender.sessions.closed
        delay = attempts.get_delay(error, retry_after=failed.retry_after)
        if isinstance(error, RateLimitError):
            # For everybody of this organization, and for this call too: the budget does the waiting.
            self._budget.pause(error.retry_in if delay is None else delay)
        if delay is None:
            raise error
        logger.info("%s Next attempt in %.1f s.", error, delay)
        if not isinstance(error, RateLimitError) and closed.wait(delay):
            raise ClientClosedError("The client was closed while it waited to ask Polar again.")

    def _pass_budget(self, request: PolarRequest, failed: FailedAttempt | None) -> None:
        waited, error = self._acquire()
        if error is not None and failed is not None and isinstance(failed.error, RateLimitError):
            # The budget has no room because Polar refused this very call: say so, with its path and status.
            failed.error.retry_in = error.retry_in
            raise failed.error
        if error is not None:
            raise error
        with self._counting:
            used = self._usage.operations
            self._usage = Usage(
                requests=self._usage.requests + 1,
                throttled_seconds=self._usage.throttled_seconds + waited,
                operations={**used, request.operation: used.get(request.operation, 0) + 1},
            )

    def _acquire(self) -> tuple[float, BudgetWaitError | None]:
        """The seconds waited for the budget, or the error that it has no room."""
        try:
            return self._budget.acquire(closed=self._sender.sessions.closed), None
        except BudgetWaitError as error:
            return 0.0, error.with_traceback(None)


def _build_default_budget(server: str) -> RequestBudget:
    amount = SANDBOX_REQUESTS_PER_MINUTE if server == SANDBOX else REQUESTS_PER_MINUTE
    return RequestBudget(organization="default", server=server, requests_per_minute=amount)


def _check_timeout(seconds: float, *, name: str) -> float:
    if not _is_positive(seconds):
        raise ConfigurationError(f"{name} is a number of seconds greater than 0, not {seconds!r}.")
    return seconds


def _check_attempts(count: int) -> int:
    if not _is_positive(count) or count != int(count):
        raise ConfigurationError(f"max_attempts is a whole number of at least 1, not {count!r}.")
    return count


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _check_version(version: object) -> str:
    if isinstance(version, str) and version and all("!" <= each <= "~" for each in version):
        return version
    raise ConfigurationError(f'version is a version of Polar\'s API such as "{API_VERSION}", not {version!r}.')
