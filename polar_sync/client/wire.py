"""One attempt of a call: the request as it leaves, the answer as it comes, and nothing of requests left in an error."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import DecodeError, HTTPError

from polar_sync.client.answers import Answer, Call, is_success, make_unreadable_error
from polar_sync.client.bodies import describe_defect, read_body
from polar_sync.client.clock import Stopwatch, get_server_clock, parse_http_date
from polar_sync.client.credential import HEADER, Credential
from polar_sync.client.errors import make_error
from polar_sync.client.failures import UNUSABLE_ADDRESS, describe_failure
from polar_sync.client.jsontext import parse_json
from polar_sync.client.logs import quieted
from polar_sync.client.parameters import encode_query
from polar_sync.client.redaction import Redactor
from polar_sync.client.retries import parse_retry_after
from polar_sync.client.sessions import ThreadSessions, build_user_agent
from polar_sync.exceptions import ConfigurationError, NetworkError, PolarError

# How many read timeouts a whole body may take: one alone never ends a body that trickles in.
BODY_TIMEOUTS = 4


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An attempt without the answer asked for: its error, and the seconds that the server asked to wait, if any."""

    error: PolarError
    retry_after: float | None = None


class Wire:
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

    def exchange(self, call: Call) -> Answer | Refusal:
        """Send a call once and return what came of it."""
        session = self.sessions.get()
        stopwatch = Stopwatch()
        outcome = self._send(call, session)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if isinstance(outcome, Refusal) else self._receive(call, outcome, stopwatch)

    def redact_text(self, text: str) -> str:
        """Return a text of the server's without the token."""
        return self._redactor.redact_text(text)

    def refuse(self, call: Call, error: Exception) -> Refusal:
        """Return the refusal of a call that got no whole answer; nothing of `error` itself is kept."""
        reason = describe_failure(error, connect_timeout=self._connect_timeout, read_timeout=self._read_timeout)
        advice = "try again later" if call.is_read else "it may have been done or not, so look before repeating it"
        message = f"{call.method} {call.path} on {self.server}: {reason}; {advice}."
        return Refusal(error=NetworkError(message, method=call.method, path=call.path))

    def _send(self, call: Call, session: requests.Session) -> requests.Response | Refusal | BaseException:
        """Return the response, or the error to raise or to hand on.

        Returned, as an error that is raised in an `except` has the error of requests in its context, whose frames and
        attributes hold the Authorization header.
        """
        url = self._build_url(call)
        try:
            with quieted(self.server):
                response = session.request(
                    call.method,
                    url,
                    data=call.body,
                    headers={} if call.body is None else {"Content-Type": "application/json"},
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
            return self.refuse(call, error)
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            # Such as the interruption of a worker. Only its frames within requests are dropped, for the same reason.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        response.request.headers.pop(HEADER, None)
        return response

    def _build_url(self, call: Call) -> str:
        query = encode_query(call.query)
        return f"{self.server}{call.path}{'?' if query else ''}{query}"

    def _receive(self, call: Call, response: requests.Response, stopwatch: Stopwatch) -> Answer | Refusal:
        interval = self._clock.read(response.headers, stopwatch=stopwatch)
        is_open = call.is_streamed and is_success(response.status_code)
        body: bytes | None = None
        defect = None
        try:
            if not is_open:
                body = read_body(response, deadline=time.monotonic() + BODY_TIMEOUTS * self._read_timeout)
        except (DecodeError, OverflowError) as error:
            defect = describe_defect(error)
        except (HTTPError, OSError) as error:
            return self.refuse(call, error)
        finally:
            if not is_open:
                response.close()
        content, unreadable = self._read(body, status=response.status_code)
        answer = Answer(
            call=call,
            status=response.status_code,
            headers=self._redactor.redact_headers(response.headers),
            interval=interval,
            content=content,
            defect=defect or unreadable,
            size=len(body or b""),
            response=response if is_open else None,
        )
        return self._judge(answer, defect=defect)

    def _read(self, body: bytes | None, *, status: int) -> tuple[Any, str | None]:
        """The value of a body without the token, or why it has none."""
        if body is None:
            return None, None
        try:
            content = parse_json(body)
        except ValueError as error:
            return None, str(error)
        if is_success(status):
            return self._redactor.redact_data(body, content), None
        return self._redactor.redact_error(content), None

    def _judge(self, answer: Answer, *, defect: str | None) -> Answer | Refusal:
        now = parse_http_date(answer.headers.get("Date")) or self._clock.now()
        retry_after = parse_retry_after(answer.headers.get("Retry-After"), now=now)
        error = make_error(answer, token_kind=self._credential.kind, version=self._api_version, retry_after=retry_after)
        if error is None and defect is not None:
            error = make_unreadable_error(answer, defect)
        if error is None:
            return answer
        answer.close()
        return Refusal(error=error, retry_after=retry_after)
