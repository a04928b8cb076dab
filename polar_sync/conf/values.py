"""Readers of single settings: each takes the setting's path and the given value, and gives the typed one.

All raise `SettingError` with the mistake WRONG_VALUE.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TypeGuard

from polar_sync.conf.errors import Mistake, SettingError, describe_value, find_unknown_keys

RATES = MappingProxyType({"read": None, "write": "60/min", "portal": "60/min"})
_RATE = re.compile(r"[1-9][0-9]*/(s|sec|second|m|min|minute|h|hour|d|day)")


def read_int(*, minimum: int, maximum: int) -> Callable[[str, object], int]:
    """A reader of a whole number from `minimum` to `maximum`; a bool is none."""

    def read(path: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        raise refuse(path, value, allowed=f"a whole number from {minimum} to {maximum}")

    return read


def read_float(*, above: float, maximum: float) -> Callable[[str, object], float]:
    """A reader of a number over `above` and up to `maximum`."""

    def read(path: str, value: object) -> float:
        if is_number(value) and above < value <= maximum:
            return float(value)
        raise refuse(path, value, allowed=f"a number over {above:g} and up to {maximum:g}")

    return read


def read_share(path: str, value: object) -> float:
    """A number from 0 to 1."""
    if is_number(value) and 0 <= value <= 1:
        return float(value)
    raise refuse(path, value, allowed="a share, a number from 0 to 1")


def read_duration(unit: timedelta, *, unit_name: str, allow_zero: bool = False) -> Callable[[str, object], timedelta]:
    """A reader of a number of `unit` as a timedelta, up to a century."""
    maximum = timedelta(days=36_525) / unit

    def read(path: str, value: object) -> timedelta:
        if is_number(value) and (0 < value <= maximum or (allow_zero and value == 0)):
            return value * unit
        lowest = "0" if allow_zero else "more than 0"
        raise refuse(path, value, allowed=f"a number of {unit_name}, {lowest} up to {maximum:g}")

    return read


def read_choice(*choices: str) -> Callable[[str, object], str]:
    """A reader of one of `choices`."""

    def read(path: str, value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise refuse(path, value, allowed=" or ".join(f'"{choice}"' for choice in choices))

    return read


def read_storage(path: str, value: object) -> str:
    """The URI of a storage of the package `limits`; only its form is looked at here.

    https://limits.readthedocs.io/en/stable/storage.html#storage-scheme
    """
    if isinstance(value, str) and "://" in value and value == value.strip():
        return value
    allowed = 'the URI of a storage of the package limits, such as "redis://127.0.0.1:6379/0"'
    raise refuse(path, value, allowed=allowed)


def refuse(path: str, value: object, *, allowed: str) -> SettingError:
    """The error for a value that is not what is `allowed`."""
    return SettingError(f"{path} is {describe_value(value)}; it must be {allowed}.", mistake=Mistake.WRONG_VALUE)


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite int or float; a bool is none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def read_flag(path: str, value: object) -> bool:
    """True or False, and nothing that only counts as such."""
    if isinstance(value, bool):
        return value
    raise refuse(path, value, allowed="True or False")


def read_name(path: str, value: object) -> str | None:
    """The dotted path of a function, or None; it is imported where it is used."""
    if value is None:
        return None
    if _is_dotted(value):
        return value
    raise refuse(path, value, allowed='the dotted path of a function, such as "shop.polar.resolve", or None')


def read_names(path: str, value: object) -> tuple[str, ...]:
    """Dotted paths of classes; they are imported where they are used."""
    if isinstance(value, list | tuple) and all(_is_dotted(one) for one in value):
        return tuple(value)
    allowed = 'a list of dotted paths of classes, such as ["rest_framework.permissions.IsAdminUser"]'
    raise refuse(path, value, allowed=allowed)


def read_rates(path: str, value: object) -> Mapping[str, str | None]:
    """Name of a kind of request → the rate allowed to one caller, such as "600/min"; None is without limit.

    What is not given keeps its default.
    """
    if not isinstance(value, Mapping):
        raise refuse(path, value, allowed='a dict such as {"write": "60/min"}')
    for error in find_unknown_keys(value, path=path, known=RATES):
        raise error
    for name, rate in value.items():
        if rate is not None and not (isinstance(rate, str) and _RATE.fullmatch(rate)):
            raise refuse(f'{path}["{name}"]', rate, allowed='a rate such as "60/min", or None')
    return MappingProxyType({**RATES, **value})


def _is_dotted(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))
