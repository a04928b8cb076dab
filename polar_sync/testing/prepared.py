"""JSON in pieces: parts that many objects share are written once and kept once."""

from __future__ import annotations

import json
import uuid
from itertools import chain
from typing import Any

# Stands in the text for a part that is ready; random, so that no value can be taken for it.
_MARK = f"prepared {uuid.uuid4().hex}"
_QUOTED_MARK = f'"{_MARK}"'


class Prepared:
    """A JSON value that is written already; it may stand anywhere in a value for `split_json`."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


def split_json(value: Any) -> tuple[bytes, ...]:
    """The pieces whose concatenation is `value` as JSON in ASCII; the `Prepared` parts are not copied."""
    ready: list[bytes] = []

    def take(part: Any) -> str:
        if not isinstance(part, Prepared):
            raise TypeError(f"{type(part).__name__} is no JSON")
        ready.append(part.body)
        return _MARK

    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=take)
    between = [piece.encode("ascii") for piece in text.split(_QUOTED_MARK)]
    return (between[0], *chain.from_iterable(zip(ready, between[1:], strict=True)))
