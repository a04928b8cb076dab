"""One text for one JSON value, and when two of them say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable
from typing import Any, NoReturn

from polar_sync.exceptions import PayloadError
from polar_sync.payloads.values import read_timestamp

MAX_DEPTH = 512
"""Nesting of one object. Python reads JSON back only as deep as its call stack leaves room, wherever that is done."""
_FINER_THAN_MICROSECONDS = re.compile(r"[.,][0-9]{7}")


def _refuse(value: object) -> NoReturn:
    raise PayloadError(f"holds {value!r}")


_encoder = json.JSONEncoder(default=_refuse, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def dump_canonical(value: Any) -> str:
    """The ASCII text of a JSON value: sorted keys, no spaces.

    NUL and lone surrogates survive as escapes, 1e308 and -0.0 as they are. Raises `PayloadError` for what JSON
    cannot say (infinity), for numbers that Python could not read, and for nesting deeper than `MAX_DEPTH`.
    """
    try:
        text = _encoder.encode(value)
    except ValueError as error:
        raise PayloadError(f"holds a value that JSON cannot say: {error}") from None
    except RecursionError:
        raise PayloadError("is nested too deeply") from None
    # Few objects hold so many brackets at all that their depth has to be looked at.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise PayloadError("is nested too deeply")
    return text


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [inner for item in level for inner in _iterate_inner(item) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _iterate_inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def load_canonical(text: str) -> Any:
    """The value whose text `dump_canonical` wrote."""
    return json.loads(text)


def is_equal(left: str, right: str, *, timestamps: Container[str]) -> bool:
    """Whether two canonical objects say the same: same keys, same numbers, `timestamps` equal as instants.

    `timestamps` are the top-level keys that hold one. True is not 1 and text is never a number.
    """
    if left == right:
        return True
    one, other = load_canonical(left), load_canonical(right)
    if not isinstance(one, dict) or not isinstance(other, dict) or one.keys() != other.keys():
        return False
    return all(
        _is_same_instant(value, other[key]) if key in timestamps else _is_same(value, other[key])
        for key, value in one.items()
    )


def _is_same_instant(one: Any, other: Any) -> bool:
    if _is_same(one, other):
        return True
    instant = read_timestamp(one)
    if instant is None or instant != read_timestamp(other):
        return False
    # What Python's datetime cuts off could be the difference.
    return not any(_FINER_THAN_MICROSECONDS.search(text) for text in (one, other))


def _is_same(one: Any, other: Any) -> bool:
    """Without recursion: a value may be nested deeper than Python functions call one another."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict):
            if not isinstance(right, dict) or left.keys() != right.keys():
                return False
            pairs.extend((value, right[key]) for key, value in left.items())
        elif isinstance(left, list):
            if not isinstance(right, list) or len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif isinstance(left, bool) or isinstance(right, bool):
            if left is not right:
                return False
        elif left != right:
            return False
    return True
