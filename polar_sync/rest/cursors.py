"""A place in a list as opaque text: where the last page ended."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.payloads.values import clean_text
from polar_sync.rest.details import Location, ParameterError, make_detail, read_instant, read_uuid

Value = datetime | str | float | None
_INSTANTS = frozenset({"created_at", "current_period_end"})
_NUMBERS = frozenset({"balance"})


@dataclass(frozen=True, slots=True)
class Position:
    """The sort key and the id of a row; a key of None is a row without a value."""

    value: Value
    pk: UUID


def write_cursor(sorting: str, row: Any) -> str:
    """The cursor of the rows after this one."""
    value = getattr(row, sorting.removeprefix("-"))
    shown = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sorting, shown, str(row.pk)]).encode("ascii")).decode("ascii")


def read_cursor(text: str, sorting: str, location: Location) -> Position | None:
    """The place that a cursor stands for; the empty one is the beginning.

    Raises `ParameterError` for one that was not given out here, or for another sorting.
    """
    if not text:
        return None
    try:
        made_for, value, pk = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        if made_for == sorting:
            return Position(_read_value(value, sorting.removeprefix("-"), location), read_uuid(pk, location))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, ParameterError):
        pass  # told below
    message = "Give the next_cursor of an earlier answer, with the same sorting."
    raise ParameterError(make_detail("value_error", location, message, text))


def _read_value(value: Any, name: str, location: Location) -> Value:
    if value is None:
        return None
    if name in _INSTANTS:
        return read_instant(value, location)
    if name in _NUMBERS:
        return float(value)
    if isinstance(value, str):
        return clean_text(value)
    raise TypeError
