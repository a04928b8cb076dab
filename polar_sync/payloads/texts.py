"""Values in the text of a request, read as Polar's server reads them, which is as pydantic 2 does."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from polar_sync.exceptions import PolarSyncError

# A repeated id is one or several to Polar, which tells of both why the text is neither, under these names.
ONE_ID = "uuid"
SEVERAL_IDS = "json-or-python[json=list[uuid],python=chain[is-instance[Sequence],function-wrap[sequence_validator()]]]"

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
_VERSION = 4
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_GROUPS = (8, 4, 4, 4, 12)
_SIMPLE_LENGTH = sum(_GROUPS)
_LENGTH = _SIMPLE_LENGTH + len(_GROUPS) - 1
_LAST_GROUP = _LENGTH - _GROUPS[-1]
_URN = "urn:uuid:"
_INTEGER = re.compile(r"([+-]?)([0-9]+(?:_[0-9]+)*)(?:\.0+)?")
_MAX_DIGITS = 4300
"""Python reads no longer numbers, and neither does Polar's server."""


class TextError(PolarSyncError, ValueError):
    """Why a text is no such value: pydantic's name for it, its words, and what it gives as their context."""

    def __init__(self, message: str, *, kind: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.context = context


def read_uuid4(text: str) -> UUID:
    """A UUID of version 4: plain, with hyphens, or with these in braces or behind `urn:uuid:`. Raises `TextError`."""
    body, offset = _unwrap(text)
    reason = _explain_uuid(text, body, offset)
    if reason is not None:
        raise TextError(f"Input should be a valid UUID, {reason}", kind="uuid_parsing", error=reason)
    value = UUID(body)
    if value.version != _VERSION:
        raise TextError(f"UUID version {_VERSION} expected", kind="uuid_version", expected_version=_VERSION)
    return value


def _unwrap(text: str) -> tuple[str, int]:
    """What is within, and after how many characters it begins."""
    if text.startswith(_URN):
        return text.removeprefix(_URN), len(_URN)
    return (text[1:-1], 1) if text.startswith("{") and text.endswith("}") else (text, 0)


def _explain_uuid(text: str, body: str, offset: int) -> str | None:
    """Why `body` is no UUID, in the words of the parser behind pydantic; None where it is one."""
    # It counts from where the UUID begins if that is as long as it should be, else from the beginning of the text.
    is_fitting = len(body.encode("utf-8", "replace")) == _LENGTH
    for index, character in enumerate(body, start=1 if is_fitting else offset + 1):
        if character != "-" and character not in _HEX_DIGITS:
            return f"invalid character: found `{character}` at {index}"
    groups = body.split("-")
    if len(groups) == 1 and not offset:
        is_right = len(text) == _SIMPLE_LENGTH
        return None if is_right else f"invalid length: expected length 32 for simple format, found {len(text)}"
    if len(groups) != len(_GROUPS):
        return f"invalid group count: expected 5, found {len(groups)}"
    for index, (group, length) in enumerate(zip(groups, _GROUPS, strict=True)):
        if len(group) != length:
            # Of the last it counts all that is left, a brace too.
            found = len(group) if index < len(_GROUPS) - 1 else len(text) - _LAST_GROUP
            return f"invalid group length in group {index}: expected {length}, found {found}"
    return None


def read_integer(text: str) -> int:
    """A whole number, also one that is written as `1.0` or `1_000`. Raises `TextError`."""
    found = _INTEGER.fullmatch(text.strip())
    if found is None:
        raise TextError("Input should be a valid integer, unable to parse string as an integer", kind="int_parsing")
    sign, digits = found.groups()
    digits = digits.replace("_", "").lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        message = "Unable to parse input string as an integer, exceeded maximum size"
        raise TextError(message, kind="int_parsing_size")
    return int(f"{sign}{digits}")


def read_bool(text: str) -> bool:
    """A truth, in any of the words that pydantic takes. Raises `TextError`."""
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise TextError("Input should be a valid boolean, unable to interpret input", kind="bool_parsing")
