"""From a JSON value to what a database column can hold: U+FFFD or None where it cannot, never an error."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

REPLACEMENT = "\ufffd"
MAX_KEY_LENGTH = 512
"""Characters of an indexed text column: four bytes each stay below PostgreSQL's limit of 2,704 for an index row."""
_MAX_DEPTH = 64
_MAX_INTEGER = 2**63 - 1
_MAX_JSON_INTEGER = 10**1000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UUID_LENGTH = 36
_SHOWN_DIGITS = 20
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UnreadableNumber:
    """A number in JSON that Python cannot hold, as it was written; an object that has one cannot be mirrored."""

    text: str

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= _SHOWN_DIGITS else f"{self.text[:_SHOWN_DIGITS]}…"
        return f"the number {shown} of {len(self.text)} characters, which is too large"


def read_uuid(value: Any) -> UUID | None:
    """Only the form that Polar writes; `uuid.UUID` alone would take braces and `urn:` too."""
    return _parse_uuid(value) if isinstance(value, str) and len(value) == _UUID_LENGTH else None


@lru_cache(maxsize=16_384)  # the ids of a claim of the list: each is looked at several times on its way
def _parse_uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None


def clean_text(value: str) -> str:
    """The text with NUL and lone surrogates replaced, which no database takes."""
    return _UNSTORABLE.sub(REPLACEMENT, value)


def read_text(value: Any) -> str | None:
    """The text as the database can hold it."""
    return clean_text(value) if isinstance(value, str) else None


def read_label(value: Any) -> str | None:
    """A text for an indexed column, cut to what an index can hold."""
    return clean_text(value[:MAX_KEY_LENGTH]) if isinstance(value, str) else None


def project_key(value: str) -> str:
    """A text that identifies: one that had to be altered gets its hash, so that two never become one."""
    clean = clean_text(value)
    if clean == value and len(value) <= MAX_KEY_LENGTH:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{clean[: MAX_KEY_LENGTH - 65]}…{digest}"


def read_key(value: Any) -> str | None:
    """As `project_key`, for any JSON value."""
    return project_key(value) if isinstance(value, str) else None


def read_boolean(value: Any) -> bool | None:
    """Only true and false."""
    return value if isinstance(value, bool) else None


def read_integer(value: Any) -> int | None:
    """A whole number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    number = int(value)
    return number if -_MAX_INTEGER - 1 <= number <= _MAX_INTEGER else None


def read_number(value: Any) -> float | None:
    """A finite double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_timestamp(value: Any) -> datetime | None:
    """An ISO 8601 instant, in UTC; one without an offset is UTC."""
    # Python's reader overlooks a NUL at the end and a surrogate in the middle.
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return None
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            return instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_newest(value: Any) -> datetime | None:
    """When an object was created or last modified, whichever is later."""
    return max(iterate_changes(value, since=""), default=None)


def iterate_changes(value: Any, *, since: str) -> Iterable[datetime]:
    """`created_at` and `modified_at` of an object, those whose text does not begin with an earlier day than `since`."""
    if isinstance(value, dict):
        for name in ("created_at", "modified_at"):
            text = value.get(name)
            instant = read_timestamp(text) if isinstance(text, str) and text[:10] >= since else None
            if instant is not None:
                yield instant


def read_json(value: Any) -> Any:
    """A JSON value for a JSON column, cleaned in depth; None where it nests or counts beyond what databases take."""
    try:
        return _clean_json(value, _MAX_DEPTH)
    except _UnstorableError:
        return None


class _UnstorableError(Exception):
    pass


def _clean_json(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_JSON_INTEGER:
        raise _UnstorableError
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise _UnstorableError
    if isinstance(value, list):
        return [_clean_json(item, depth - 1) for item in value]
    return {clean_text(key): _clean_json(item, depth - 1) for key, item in value.items()}
