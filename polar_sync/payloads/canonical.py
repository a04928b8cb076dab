"""One text for one JSON value, and when two of them say the same."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from polar_sync.exceptions import PayloadError
from polar_sync.payloads.values import read_timestamp

_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def dump_canonical(value: Any) -> str:
    """The ASCII text of a JSON value: sorted keys, no spaces.

    NUL and lone surrogates survive as escapes, 1e308 and -0.0 as they are. Raises `PayloadError` for what JSON
    cannot say (infinity) and for nesting deeper than Python's own limit.
    """
    try:
        return _encoder.encode(value)
    except ValueError as error:
        raise PayloadError(f"holds a value that JSON cannot say: {error}") from None
    except RecursionError:
        raise PayloadError("is nested too deeply") from None


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
    return instant is not None and instant == read_timestamp(other)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_is_same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
