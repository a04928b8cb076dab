"""Values of a request, read as Polar reads them, with the details of a 422 that it gives."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError

from polar_sync.payloads import texts
from polar_sync.payloads.values import read_timestamp

T = TypeVar("T")
Detail = dict[str, Any]
Location = tuple[str | int, ...]
METADATA = re.compile(r"metadata\[([^\]]+)\]", re.DOTALL)


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
    """A UUID of version 4, as all of Polar's are."""
    return _read(texts.read_uuid4, text, location)


def read_uuids(given: Iterable[str], location: Location) -> list[uuid.UUID]:
    """Those of a repeated parameter. Polar tells first that several are not one."""
    given = list(given)
    try:
        return read_all(read_uuid, given, (*location, texts.SEVERAL_IDS))
    except ParameterError as error:
        message = "UUID input should be a string, bytes or UUID object"
        raise ParameterError(
            make_detail("uuid_type", (*location, texts.ONE_ID), message, given), *error.details
        ) from None


def read_positive(text: str, location: Location) -> int:
    """A whole number above 0."""
    number = read_integer(text, location)
    if number > 0:
        return number
    raise ParameterError(make_detail("greater_than", location, "Input should be greater than 0", text, gt=0))


def read_integer(text: str, location: Location) -> int:
    """A whole number."""
    return _read(texts.read_integer, text, location)


def _read(reader: Callable[[str], T], text: str, location: Location) -> T:
    try:
        return reader(text)
    except texts.TextError as error:
        raise ParameterError(make_detail(error.kind, location, error.message, text, **error.context)) from None


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
    return _read(texts.read_bool, text, location)


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


def read_all(reader: Callable[[str, Location], T], given: Iterable[str], location: Location) -> list[T]:
    """Each of a repeated parameter's values; every wrong one is told of."""
    values: list[T] = []
    details: list[Detail] = []
    for index, text in enumerate(given):
        try:
            values.append(reader(text, (*location, index)))
        except ParameterError as error:
            details += error.details
    if details:
        raise ParameterError(*details)
    return values


def read_together(*readers: Callable[[], Any]) -> list[Any]:
    """What each of them reads; of all that cannot be read every detail is told, in their order."""
    values: list[Any] = []
    details: list[Detail] = []
    for reader in readers:
        try:
            values.append(reader())
        except ParameterError as error:
            details += error.details
    if details:
        raise ParameterError(*details)
    return values


class _Texts(forms.Widget):
    """All values of a repeated parameter, None where it is absent."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str] | None:
        return data.getlist(name) if name in data else None


class _Metadata(forms.Widget):
    """The values of every `metadata[key]`, by key."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> dict[str, list[str]] | None:
        found = {hit[1]: data.getlist(key) for key in data if (hit := METADATA.fullmatch(key)) is not None}
        return found or None


class QueryField(forms.Field):
    """A parameter that may come once; of several the last counts. Absent is None, the empty text is a text."""

    widget = _Texts

    def __init__(self, *, name: str, read: Callable[[str, Location], Any]) -> None:
        super().__init__(required=False)
        self.location: Location = ("query", name)
        self.read = read

    def clean(self, value: list[str] | None) -> Any:
        """The value, or an error that carries its details."""
        if value is None:
            return None
        try:
            return self.read_texts(value)
        except ParameterError as error:
            raise ValidationError("invalid", params={"details": error.details}) from None

    def read_texts(self, texts: list[str]) -> Any:
        """From all of the parameter's values."""
        return self.read(texts[-1], self.location)


class RepeatedField(QueryField):
    """A parameter that may come several times; any of its values will do."""

    def read_texts(self, texts: list[str]) -> list[Any]:
        return read_all(self.read, texts, self.location)


class IdsField(QueryField):
    """Polar's ids, repeated; any of them will do."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name, read=read_uuid)

    def read_texts(self, texts: list[str]) -> list[Any]:
        return read_uuids(texts, self.location)


class MetadataField(forms.Field):
    """Every `metadata[key]=value`, as key → texts."""

    widget = _Metadata

    def clean(self, value: Mapping[str, list[str]] | None) -> Mapping[str, list[str]] | None:
        """Any text is right."""
        return value


def read_text(text: str, location: Location) -> str:
    """Any text, as the database holds it."""
    return text
