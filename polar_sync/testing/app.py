"""The fake Polar server as a WSGI application, and the same without a socket or WSGI."""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

from polar_sync.client.parameters import choose_version
from polar_sync.testing.auth import Token, authorize
from polar_sync.testing.faults import Fault, FaultList
from polar_sync.testing.foundation import Shared, get_utc_now
from polar_sync.testing.generator import generate_customers
from polar_sync.testing.http import (
    Answer,
    ConnectionCutError,
    Match,
    RefusalError,
    Request,
    get_phrase,
    list_headers,
    match_route,
    read_request,
    redirect,
    refuse_rate,
    refuse_route,
)
from polar_sync.testing.operations import Call, Operations
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.replay import replay_recording

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

WINDOW = timedelta(minutes=1)


class AskedRequest(NamedTuple):
    """One request that was answered; `path` is without the query. A cut connection has the status 0."""

    method: str
    path: str
    status: int


class RequestRecord(AskedRequest):
    """An `AskedRequest` (it compares and unpacks as one) that also knows its query, operation and time."""

    query: str
    operation: str | None
    at: datetime

    @classmethod
    def make(cls, request: Request, *, status: int, operation: str | None, at: datetime) -> Self:
        """Note a request down; `at` is when it arrived, by `FakePolar.clock`."""
        record = cls(request.method, request.path, status)
        record.query, record.operation, record.at = request.query_string, operation, at
        return record


class RequestWindow:
    """The times of the requests of the last minute; not locked by itself."""

    def __init__(self) -> None:
        self._times: deque[datetime] = deque()
        self.refused = 0

    def count(self, *, limit: int | None, now: datetime) -> None:
        """Count one request; over `limit` requests in a moving minute raises the 429 that Polar answers."""
        if limit is None:
            return
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()
        if len(self._times) < limit:
            self._times.append(now)
            return
        self.refused += 1
        oldest = self._times[0] if self._times else now
        raise refuse_rate(max(1, math.ceil((oldest + WINDOW - now).total_seconds())))


class FakePolar(FakeOrganization):
    """A Polar server with one organization in memory, as a WSGI application; `add_organization` makes another.

    `counts` says how often each operation was asked for (`"customers:list"`, …; refused requests count too), `requests`
    lists every request, `faults` makes trouble, `before` changes data at the worst moment. `rate_limit` is the number
    of requests a minute for this organization, None for no limit; `rate_limited` counts what went over it.
    `has_balance` serves the balance operation that Polar removed in 2026. `sleep` is what a fault of the kind `latency`
    waits with. `date_offset` sets the `Date` header off and nothing else, as a proxy with a wrong clock does. The other
    options are explained in `FakeOrganization`. Everything may be used from any thread.

    Reference: https://polar.sh/docs/api-reference/introduction.
    """

    def __init__(
        self,
        *,
        seed: int | str | None = None,
        organization_id: str | uuid.UUID | None = None,
        clock: Callable[[], datetime] = get_utc_now,
        sleep: Callable[[float], object] = time.sleep,
        rate_limit: int | None = None,
        has_balance: bool = False,
        shuffle_ties: bool = False,
        shuffle_arrays: bool = False,
        shows_deleted: bool = False,
        lists_other_price: bool = False,
        shared: Shared | None = None,
    ) -> None:
        super().__init__(seed=seed, organization_id=organization_id, clock=clock, shared=shared)
        self.sleep = sleep
        self.rate_limit = rate_limit
        self.has_balance = has_balance
        self.counts: Counter[str] = Counter()
        self.requests: list[RequestRecord] = []
        self.faults = FaultList()
        self.shuffle_ties = shuffle_ties
        self.shuffle_arrays = shuffle_arrays
        self.shows_deleted = shows_deleted
        self.lists_other_price = lists_other_price
        self.date_offset = timedelta()
        self.operations = Operations(self)
        self._window = RequestWindow()
        self._organizations: dict[str, FakePolar] = {self.organization_id: self}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.organization_id}: {len(self.store)} customers>"

    @classmethod
    def generate(cls, *, seed: int | str, customers: int, **options: Any) -> Self:
        """A server with this many made-up customers; the same seed and number give the same ones.

        `options` are those of the class.
        """
        polar = cls(seed=seed, **options)
        polar.generate_customers(customers, seed=seed)
        return polar

    @classmethod
    def replay(cls, path: str | Path, **options: Any) -> Self:
        """A server whose customers and states are those of a recording: exchanges as JSON lines, gzipped.

        Customers come from the recorded list pages, states from the recorded states, subscriptions, grants and meters
        from the recorded lists. `options` are those of the class.
        """
        recording = replay_recording(Path(path))
        polar = cls(seed="replay", organization_id=recording.organization_id, **options)
        recording.fill(polar)
        return polar

    def generate_customers(self, customers: int, *, seed: int | str = 0) -> None:
        """Add made-up customers, younger than those that are there."""
        generate_customers(self, customers=customers, seed=seed)

    def prepare(self) -> None:
        """Write the bodies of all answers now, so that no request of a benchmark waits for it."""
        with self.shared.lock:
            self.operations.lists.index.prepare()

    def add_organization(self, *, seed: int | str | None = None, customers: int = 0, **options: Any) -> Self:
        """Another organization on the same server, with its own token, data, counts, faults and rate limit."""
        other = type(self)(seed=seed, clock=self.clock, sleep=self.sleep, shared=self.shared, **options)
        other.clock_offset = self.clock_offset
        other.date_offset = self.date_offset
        with self.shared.lock:
            self._organizations[other.organization_id] = other
            other._organizations = self._organizations  # noqa: SLF001  the same class
        if customers:
            other.generate_customers(customers, seed=seed or 0)
        return other

    def before(
        self, operation: str | None, call: Callable[[], object], *, times: int | None = 1, after: int = 0
    ) -> Fault:
        """Run `call` before the answer to the next `times` requests for `operation`, letting `after` pass first."""
        return self.faults.add(Fault(kind="call", operation=operation, call=call, times=times, after=after))

    @property
    def rate_limited(self) -> int:
        """How many requests went over `rate_limit` and were answered with 429."""
        return self._window.refused

    def reset_counts(self) -> None:
        """Forget which requests were made."""
        with self.shared.lock:
            self.counts.clear()
            self.requests.clear()
            self._window.refused = 0

    def handle(
        self,
        method: str,
        path_with_query: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Answer one request without a socket: status, headers, body.

        Raises `ConnectionCutError` for a fault of the kind `cut`; after one of the kind `truncate` the body is shorter
        than `Content-Length` says. The export has no `Content-Length`, as it is streamed.
        """
        request = read_request(method, path_with_query, headers=headers, body=body)
        with self.shared.lock:
            token = self.shared.tokens.find(request.headers.get("authorization"))
        owner = self._organizations.get(token.organization_id, self) if token else self
        return owner.serve(request, token=token)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as a WSGI application (PEP 3333); a cut connection is a `ConnectionCutError` for the server."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers.setdefault("host", f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}")
        path = quote(environ.get("PATH_INFO", "/").encode("latin-1"))
        query = environ.get("QUERY_STRING", "")
        target = f"{path}?{query}" if query else path
        body = environ["wsgi.input"].read(length) if length else b""
        status, answered, content = self.handle(environ["REQUEST_METHOD"], target, headers, body)
        start_response(f"{status} {get_phrase(status)}", answered)
        return [content]

    def serve(self, request: Request, *, token: Token | None) -> tuple[int, list[tuple[str, str]], bytes]:
        """Answer a request that is this organization's, note it down and add the headers that every answer has."""
        arrived = self.clock()
        version = choose_version(request.headers.get("polar-version"))
        operation: str | None = None
        is_truncated = False
        try:
            match = self._match(request, version)
            if isinstance(match, Match):
                operation = match.route.operation
                answer, is_truncated = self._answer(request, match, token)
            else:
                answer = redirect(request, match)
        except RefusalError as error:
            answer = error.answer
        except ConnectionCutError:
            self._note(RequestRecord.make(request, status=0, operation=operation, at=arrived))
            raise
        self._note(RequestRecord.make(request, status=answer.status, operation=operation, at=arrived))
        answered = list_headers(answer, date=self.now() + self.date_offset, version=version, is_truncated=is_truncated)
        return answer.status, answered, answer.body[: len(answer.body) // 2] if is_truncated else answer.body

    def _match(self, request: Request, version: str | None) -> Match | str:
        if version is None:
            raise refuse_route()
        return match_route(request.method, request.path, has_balance=self.has_balance)

    def _answer(self, request: Request, match: Match, token: Token | None) -> tuple[Answer, bool]:
        if token is not None:
            with self.shared.lock:
                self._window.count(limit=self.rate_limit, now=self.clock())
        is_truncated = False
        for fault in self._take_faults(match):
            if fault.kind == "latency":
                self.sleep(fault.seconds)
            elif fault.call is not None:
                fault.call()
            elif fault.kind == "truncate":
                is_truncated = True
            elif (struck := fault.strike()) is not None:
                return struck, False
        with self.shared.lock:
            authorization = request.headers.get("authorization")
            known = authorize(token, authorization=authorization, route=match.route, now=self.now())
            call = Call(request, match.parameters, known)
            answer = self.operations.answer(match.route.operation, call)
        return answer, is_truncated

    def _take_faults(self, match: Match) -> list[Fault]:
        if not len(self.faults):
            return []
        with self.shared.lock:
            record = self.operations.find_record(match.parameters) if match.parameters else None
        return self.faults.take(match.route.operation, customer=record.key if record else None)

    def _note(self, record: RequestRecord) -> None:
        with self.shared.lock:
            self.requests.append(record)
            if record.operation is not None:
                self.counts[record.operation] += 1
