"""Values of a request, read as Polar reads them, with the details of a 422 that it gives (those of pydantic 2)."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from polar_sync.payloads.values import read_timestamp

T = TypeVar("T")
Detail = dict[str, Any]
Location = tuple[str | int, ...]

TRUE_TEXTS = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE_TEXTS = frozenset({"0", "false", "f", "no", "n", "off"})
_UUID_GROUPS = (8, 4, 4, 4, 12)
_MAX_DIGITS = 4000
"""Python refuses to read longer numbers."""


class ParameterError(Exception):
    """A value that cannot be used; `details` are entries of a 422's `detail`."""

    def __init__(self, *details: Detail) -> None:
        super().__init__()
        self.details = details


def make_detail(kind: str, location: Iterable[str | int], message: str, value: Any, **context: Any) -> Detail:
    """One entry of a 422's `detail`."""
    detail: Detail = {"type": kind, "loc": list(location), "msg": message, "input": value}
    return {**detail, "ctx": context} if context else detail


def read_uuid(text: str, location: Location) -> uuid.UUID:
    """A UUID in any of its usual spellings."""
    try:
        return uuid.UUID(text)
    except ValueError:
        reason = _explain_uuid(text)
    raise ParameterError(
        make_detail("uuid_parsing", location, f"Input should be a valid UUID, {reason}", text, error=reason)
    )


def _explain_uuid(text: str) -> str:
    """In the words of the parser behind pydantic."""
    for index, character in enumerate(text, start=1):
        if character != "-" and character not in "0123456789abcdefABCDEF":
            return f"invalid character: found `{character}` at {index}"
    groups = text.split("-")
    if len(groups) == 1:
        return f"invalid length: expected length 32 for simple format, found {len(text)}"
    if len(groups) != len(_UUID_GROUPS):
        return f"invalid group count: expected 5, found {len(groups)}"
    for index, (group, length) in enumerate(zip(groups, _UUID_GROUPS, strict=True)):
        if len(group) != length:
            return f"invalid group length in group {index}: expected {length}, found {len(group)}"
    return "invalid character"


def read_positive(text: str, location: Location) -> int:
    """A whole number above 0."""
    number = read_integer(text, location)
    if number > 0:
        return number
    raise ParameterError(make_detail("greater_than", location, "Input should be greater than 0", text, gt=0))


def read_integer(text: str, location: Location) -> int:
    """A whole number."""
    try:
        if len(text) <= _MAX_DIGITS and text.isascii() and "_" not in text:
            return int(text)
    except ValueError:
        pass  # told below
    message = "Input should be a valid integer, unable to parse string as an integer"
    raise ParameterError(make_detail("int_parsing", location, message, text))


def read_number(text: str, location: Location) -> float:
    """A finite number."""
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    message = "Input should be a valid number, unable to parse string as a number"
    raise ParameterError(make_detail("float_parsing", location, message, text))


def read_bool(text: str, location: Location) -> bool:
    """A truth, in any of the words that pydantic takes."""
    word = text.lower()
    if word in TRUE_TEXTS or word in FALSE_TEXTS:
        return word in TRUE_TEXTS
    message = "Input should be a valid boolean, unable to interpret input"
    raise ParameterError(make_detail("bool_parsing", location, message, text))


def read_instant(text: str, location: Location) -> datetime:
    """An ISO 8601 time, UTC where it says no other; a day is its beginning. A `+` may have come as a space."""
    instant = read_timestamp(text.replace(" ", "+") if "T" in text else text)
    # What a database's timestamps and their offsets can hold.
    if instant is not None and datetime(1, 1, 3, tzinfo=UTC) < instant < datetime(9999, 12, 29, tzinfo=UTC):
        return instant
    message = "Input should be a valid datetime, such as 2026-11-20T12:00:00Z"
    raise ParameterError(make_detail("datetime_parsing", location, message, text))


def read_choice(text: str, location: Location, *, choices: Iterable[str]) -> str:
    """One of `choices`."""
    known = list(choices)
    if text in known:
        return text
    quoted = [f"'{one}'" for one in known]
    expected = " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
    raise ParameterError(make_detail("enum", location, f"Input should be {expected}", text, expected=expected))


def read_all(reader: Callable[[str, Location], T], texts: Iterable[str], location: Location) -> list[T]:
    """Each of a repeated parameter's values; every wrong one is told of."""
    values: list[T] = []
    details: list[Detail] = []
    for index, text in enumerate(texts):
        try:
            values.append(reader(text, (*location, index)))
        except ParameterError as error:
            details += error.details
    if details:
        raise ParameterError(*details)
    return values
