"""What differs between two answers, as short texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

UNORDERED = frozenset({"active_subscriptions", "granted_benefits"})


def compare(theirs: Any, ours: Any, place: str = "body") -> Iterator[str]:
    """Every place where ours is not theirs. Subscriptions and grants have no order, everything else has."""
    match theirs, ours:
        case dict(), dict():
            for name in sorted(theirs.keys() | ours.keys()):
                here = f"{place}.{name}"
                if name not in ours:
                    yield f"{here}: missing"
                elif name not in theirs:
                    yield f"{here}: only here"
                elif name in UNORDERED:
                    yield from compare(_sort(theirs[name]), _sort(ours[name]), here)
                else:
                    yield from compare(theirs[name], ours[name], here)
        case list(), list():
            if len(theirs) != len(ours):
                yield f"{place}: {len(ours)} of {len(theirs)}"
            for one, other in zip(theirs, ours, strict=False):
                yield from compare(one, other, f"{place}[]")
        case _:
            if theirs != ours or type(theirs) is not type(ours):
                yield f"{place}: {theirs!r} is {ours!r}"


def _sort(items: Any) -> Any:
    return sorted(items, key=lambda item: str(item["id"])) if isinstance(items, list) else items
