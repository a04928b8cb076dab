"""What Polar answered: JSON as the contract has it, and the types that callers get of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, TypeGuard

import requests

from polar_sync.client.parameters import Query
from polar_sync.exceptions import UnreadableAnswerError
from polar_sync.payloads.interval import Interval
from polar_sync.payloads.values import UnreadableNumber

# The first digit of a status that says that the server did what was asked.
SUCCESS = 2
# A list that says more has no such many: a run would ask for page after page of nothing.
LARGEST_COUNT = 10_000_000
_NAMED = frozenset({"state", "balance", "export", "me", "endpoints", "secret", "deliveries", "redeliver"})


@dataclass(frozen=True, kw_only=True)
class PolarRequest:
    """One operation of Polar's API, however often it is tried."""

    method: str
    path: str
    query: Query = field(default_factory=list)
    body: bytes | None = None
    is_streamed: bool = False
    is_balance: bool = False
    has_secret: bool = False
    """Whether the answer may hold the secret of a webhook endpoint."""

    @property
    def operation(self) -> str:
        """What is asked, without whom it is about: "customers" for that list, else as "customers/state"."""
        _, _, resource, *rest = self.path.split("/")
        if not rest or rest == [""]:
            return resource
        return f"{resource}/{rest[-1] if rest[-1] in _NAMED else 'one'}"

    @property
    def is_read(self) -> bool:
        """Whether asking twice does nothing that asking once does not."""
        return self.method == "GET"


@dataclass(frozen=True, kw_only=True)
class PolarResponse:
    """One answer, without the token if the server echoed it; `http_response` is still open when it is streamed.

    `content` is the value of its JSON, `defect` why there is none, None where there is one; `size` is in bytes.
    """

    request: PolarRequest
    status: int
    headers: Mapping[str, str]
    interval: Interval
    content: Any = field(default=None, repr=False)
    defect: str | None = None
    size: int = 0
    http_response: requests.Response | None = field(default=None, repr=False)

    @property
    def context(self) -> dict[str, Any]:
        """What every `PolarError` about this answer carries."""
        return {
            "method": self.request.method,
            "path": self.request.path,
            "status": self.status,
            "interval": self.interval,
        }

    def close(self) -> None:
        """Close the response where it is still open."""
        if self.http_response is not None:
            self.http_response.close()


class PolarObject(dict[str, Any]):
    """An object as Polar sent it, and the `interval` in which Polar read it for this answer."""

    interval: Interval

    def __init__(self, value: Mapping[str, Any], *, interval: Interval) -> None:
        super().__init__(value)
        self.interval = interval

    @property
    def as_of(self) -> datetime:
        """The earliest moment, on Polar's clock, at which it can have been read."""
        return self.interval.start


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """One page of a list: `items` are raw and not validated, `total_count` and `max_page` are Polar's own numbers."""

    items: list[Any]
    total_count: int
    max_page: int
    interval: Interval

    @property
    def as_of(self) -> datetime:
        """The earliest moment, on Polar's clock, at which it can have been read."""
        return self.interval.start


def is_success(status: int) -> bool:
    """Return whether the server says that it did what was asked: 2xx."""
    return status // 100 == SUCCESS


def read_object(response: PolarResponse) -> PolarObject:
    """Return the body as an object, else raise UnreadableAnswerError."""
    value = response.content
    if response.defect is not None:
        raise make_unreadable_error(response, response.defect)
    if not isinstance(value, dict):
        raise make_unreadable_error(response, f"{_name_type(value)} where an object belongs")
    return PolarObject(value, interval=response.interval)


def read_page(response: PolarResponse) -> ListPage:
    """Return the body as a page, else raise UnreadableAnswerError; the items stay unvalidated."""
    value = read_object(response)
    items, pagination = value.get("items"), value.get("pagination")
    if not isinstance(items, list):
        raise make_unreadable_error(response, "no list of `items`")
    counts = pagination if isinstance(pagination, dict) else {}
    total_count, max_page = counts.get("total_count"), counts.get("max_page")
    if not (_is_count(total_count) and _is_count(max_page)):
        reason = f"no `pagination` with `total_count` and `max_page`, whole numbers from 0 to {LARGEST_COUNT}"
        raise make_unreadable_error(response, reason)
    return ListPage(items=items, total_count=total_count, max_page=max_page, interval=response.interval)


def read_balance(response: PolarResponse) -> PolarObject:
    """Return the body as a balance, else raise UnreadableAnswerError."""
    value = read_object(response)
    balance, currency = value.get("balance"), value.get("currency")
    if not isinstance(balance, int) or isinstance(balance, bool) or not isinstance(currency, str):
        raise make_unreadable_error(response, "no `balance` in cents with a `currency`")
    return value


def make_unreadable_error(response: PolarResponse, reason: str) -> UnreadableAnswerError:
    """Return the error that says what came instead of the answer; never quotes the body, which may be private."""
    kind = response.headers.get("Content-Type", "no content type")[:100]
    return UnreadableAnswerError(
        f"{response.request.method} {response.request.path}: status {response.status}, but the answer cannot be used: "
        f"{reason} ({kind}, {response.size} bytes). Check that the server is Polar's and not a proxy's page.",
        **response.context,
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def _name_type(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a bool", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; anything else raises ValueError with a reason safe to show.

    Refused beyond bad syntax: NaN and infinities, and nesting beyond what Python reads. A number too large for a float
    or for Python's reader of integers becomes an `UnreadableNumber`, so that only what holds it is lost. Escaped NULs
    and lone surrogates are legal text; of one key twice in an object the last holds.
    """
    try:
        return _load(body.decode("utf-8"))
    except json.JSONDecodeError as error:
        # Not its text as it stands: `error.doc` holds the whole body.
        reason = f"no valid JSON ({error.msg} at character {error.pos} of {len(error.doc)})"
    except UnicodeDecodeError:
        reason = "no valid UTF-8"
    except RecursionError:
        reason = "JSON nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(reason)


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float)
    except json.JSONDecodeError:
        raise
    except ValueError:
        pass  # most likely an integer that is too long
    # Not at once: a function that is called for each integer makes reading much slower.
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_integer)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON with {name}, which is no number")


def _parse_float(text: str) -> float | UnreadableNumber:
    value = float(text)
    return value if math.isfinite(value) else UnreadableNumber(text)


def _parse_integer(text: str) -> int | UnreadableNumber:
    try:
        return int(text)
    except ValueError:
        return UnreadableNumber(text)
