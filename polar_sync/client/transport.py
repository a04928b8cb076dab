"""How a call gets to Polar and an answer back: budget, attempts, retries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from polar_sync.client.addresses import SANDBOX, resolve_server
from polar_sync.client.answers import Answer, Call
from polar_sync.client.credential import Credential
from polar_sync.client.retries import Attempts
from polar_sync.client.throttle import REQUESTS_PER_MINUTE, SANDBOX_REQUESTS_PER_MINUTE, RequestBudget
from polar_sync.client.versions import API_VERSION
from polar_sync.client.wire import Refusal, Wire
from polar_sync.exceptions import (
    BudgetWaitError,
    ClientClosedError,
    ConfigurationError,
    PolarError,
    RateLimitError,
)

logger = logging.getLogger(__name__)


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
        self._wire = Wire(
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
        """A snapshot."""
        return self._usage

    def close(self) -> None:
        """Close the sessions of all threads; who waits for the budget or a retry gets ClientClosedError."""
        self._wire.sessions.close()

    def send(self, call: Call) -> Answer:
        """Return the answer of a call that succeeded, however many attempts it took; else raise its error.

        With `call.is_streamed` the answer is open, and the caller closes it.
        """
        attempts = Attempts(call, max_attempts=self._max_attempts, max_wait=self._budget.max_wait)
        refusal: Refusal | None = None
        while True:
            self._pass_budget(call, refusal)
            outcome = self._wire.exchange(call)
            if isinstance(outcome, Answer):
                return outcome
            refusal = outcome
            self._prepare_retry(attempts, refusal)

    def redact_text(self, text: str) -> str:
        """Return a text of a streamed answer without the token."""
        return self._wire.redact_text(text)

    def make_stream_error(self, call: Call, error: Exception) -> PolarError:
        """Return the error of a streamed answer that broke off; nothing of `error` itself is kept."""
        return self._wire.refuse(call, error).error

    def _prepare_retry(self, attempts: Attempts, refusal: Refusal) -> None:
        error, closed = refusal.error, self._wire.sessions.closed
        delay = attempts.get_delay(error, retry_after=refusal.retry_after)
        if isinstance(error, RateLimitError):
            # For everybody of this organization, and for this call too: the budget does the waiting.
            self._budget.pause(error.retry_in if delay is None else delay)
        if delay is None:
            raise error
        logger.info("%s Next attempt in %.1f s.", error, delay)
        if not isinstance(error, RateLimitError) and closed.wait(delay):
            raise ClientClosedError("The client was closed while it waited to ask Polar again.")

    def _pass_budget(self, call: Call, refusal: Refusal | None) -> None:
        waited, error = self._acquire()
        if error is not None and refusal is not None and isinstance(refusal.error, RateLimitError):
            # The budget has no room because Polar refused this very call: say so, with its path and status.
            refusal.error.retry_in = error.retry_in
            raise refusal.error
        if error is not None:
            raise error
        with self._counting:
            used = self._usage.operations
            self._usage = Usage(
                requests=self._usage.requests + 1,
                throttled_seconds=self._usage.throttled_seconds + waited,
                operations={**used, call.operation: used.get(call.operation, 0) + 1},
            )

    def _acquire(self) -> tuple[float, BudgetWaitError | None]:
        """The seconds waited for the budget, or the error that it has no room."""
        try:
            return self._budget.acquire(closed=self._wire.sessions.closed), None
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
