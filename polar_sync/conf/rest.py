"""Readers of the settings of the REST API: names of classes and functions, rates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeGuard

from polar_sync.conf.errors import find_unknown_keys
from polar_sync.conf.values import refuse

RATES = MappingProxyType({"read": None, "write": "60/min", "portal": "60/min"})
_RATE = re.compile(r"[1-9][0-9]*/(s|sec|second|m|min|minute|h|hour|d|day)")


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
