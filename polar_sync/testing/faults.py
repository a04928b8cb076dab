"""Trouble on demand: what a server, a proxy or the network may do to a request.

polar.faults.add(Fault(kind="rate_limit", operation="customers:get_state", times=3, retry_after=1))
polar.faults.add(Fault(kind="cut", customer=some_id, times=None))
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

from polar_sync.testing.http import (
    OPERATIONS,
    Answer,
    ConnectionCutError,
    RefusalError,
    body_response,
    dump_json,
    refuse_missing,
    refuse_rate,
    refuse_route,
    refuse_token,
)

Kind = Literal[
    "latency",
    "rate_limit",
    "server_error",
    "cut",
    "truncate",
    "bare_404",
    "missing",
    "unauthorized",
    "malformed",
    "refused",
    "call",
]
# These let the request go on; every other kind is the end of it.
PASSING = frozenset({"latency", "call"})
HTML = (
    b"<html>\r\n<head><title>Bad Gateway</title></head>\r\n<body>\r\n<center><h1>Bad Gateway</h1></center>\r\n"
    b"</body>\r\n</html>\r\n"
)


@dataclass(eq=False, kw_only=True)
class Fault:
    """One kind of trouble for the requests that it fits.

    `operation` (such as `customers:get_state`) and `customer` (an id) narrow it; None fits all. The first `after`
    fitting requests are let through, the next `times` are hit (None: all of them), each with the probability `chance`.

    | kind | what happens |
    | --- | --- |
    | `latency` | the answer comes `seconds` later |
    | `rate_limit` | 429 with an empty body and `retry_after` (seconds, or text as it is; 60 where it is None) |
    | `server_error` | `status` (502) with an HTML page, and `retry_after` where it is given |
    | `cut` | the connection is closed without an answer; the request is not carried out |
    | `truncate` | the request is carried out, the connection is closed in the middle of the body |
    | `bare_404` | 404 with the body of an unknown route |
    | `missing` | 404 `ResourceNotFound`, whether the object exists or not |
    | `unauthorized` | 401 as for a revoked token |
    | `malformed` | 200 with `body`: bytes as they are, anything else as JSON |
    | `refused` | `status` with `body`, written as for `malformed` |
    | `call` | `call()` is run, then the request goes on: change the data between two pages with it |
    """

    kind: Kind
    operation: str | None = None
    customer: str | UUID | None = None
    times: int | None = 1
    after: int = 0
    chance: float = 1.0
    seconds: float = 0.0
    retry_after: float | str | None = None
    status: int = 502
    body: Any = "malformed"
    call: Callable[[], object] | None = None
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no kind of fault; there are {', '.join(get_args(Kind))}")
        if self.operation is not None and self.operation not in OPERATIONS:
            raise ValueError(f"{self.operation!r} is no operation; there are {', '.join(OPERATIONS)}")
        if (self.call is None) == (self.kind == "call"):
            raise ValueError("a fault of the kind 'call', and no other, needs call=…")
        if self.customer is not None:
            self.customer = str(self.customer)

    def fits(self, operation: str, customer: str | None) -> bool:
        """The fault is about this operation and customer."""
        return self.operation in {None, operation} and self.customer in {None, customer}

    def strike(self) -> Answer | None:
        """End the request with what this kind answers; None for the kinds that let it go on."""
        match self.kind:
            case "rate_limit":
                raise refuse_rate(60 if self.retry_after is None else self.retry_after)
            case "server_error":
                raise RefusalError(Answer(self.status, HTML, self._server_error_headers()))
            case "cut":
                raise ConnectionCutError("the fake server cut the connection, as a fault told it to")
            case "bare_404":
                raise refuse_route()
            case "missing":
                raise refuse_missing()
            case "unauthorized":
                raise refuse_token()
            case "malformed":
                return body_response(self._dump_body())
            case "refused":
                raise RefusalError(body_response(self._dump_body(), status=self.status))
            case _:
                return None

    def _dump_body(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else dump_json(self.body)

    def _server_error_headers(self) -> list[tuple[str, str]]:
        headers = [("Content-Type", "text/html")]
        if self.retry_after is not None:
            headers += refuse_rate(self.retry_after).answer.headers
        return headers


class FaultList:
    """The faults that wait for requests, in the order they were added; safe to use from any thread."""

    def __init__(self, *, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self._faults: list[Fault] = []

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, fault: Fault) -> Fault:
        """Let `fault` wait for its requests."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Forget one fault; one that is used up already is no error."""
        with self._lock:
            self._faults = [one for one in self._faults if one is not fault]

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, operation: str, *, customer: str | None) -> list[Fault]:
        """The faults that hit this request: any number that let it go on, then at most one that ends it."""
        taken: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                if self._is_hit(fault, operation, customer):
                    taken.append(fault)
                    if fault.kind not in PASSING:
                        break
            self._faults = [one for one in self._faults if one.times is None or one.hits < one.times]
        return taken

    def _is_hit(self, fault: Fault, operation: str, customer: str | None) -> bool:
        if not fault.fits(operation, customer):
            return False
        if fault.after > 0:
            fault.after -= 1
            return False
        if fault.chance < 1.0 and self._rng.random() >= fault.chance:
            return False
        if fault.times is not None and fault.hits >= fault.times:
            return False
        fault.hits += 1
        return True
