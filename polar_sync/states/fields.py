"""Which fields the objects of a state have, and which of them the lists can give.

A list's item has more fields than the same object in a state. Which of them belong is known from the contract until
a state has shown it: https://polar.sh/docs/api-reference/customers/state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from polar_sync.payloads.kinds import CUSTOMER, get_child_kinds, get_kind

_NAMES = ("shown", "left_out", "state_only")


def escape(name: str) -> str:
    """The name in printable ASCII; most are that already, and stay as they are."""
    return json.dumps(name)[1:-1]


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    name: str = json.loads(f'"{text}"')
    return name


@dataclass(slots=True)
class StateFields:
    """What real states have shown of the fields of their objects, by kind and beside the lists' items.

    `shown` are names that both have, `left_out` those that only the item has, `state_only` those that only the state
    has.
    """

    shown: dict[str, frozenset[str]] = field(default_factory=dict)
    left_out: dict[str, frozenset[str]] = field(default_factory=dict)
    state_only: dict[str, frozenset[str]] = field(default_factory=dict)

    def get(self, kind: str) -> frozenset[str]:
        """The fields of one kind."""
        return self.shown.get(kind) or _get_contract(kind)

    def get_left_out(self, kind: str) -> frozenset[str]:
        """Fields of a list's item that do not belong into a state."""
        return self.left_out.get(kind, frozenset())

    def get_mixed(self, kind: str) -> frozenset[str]:
        """Fields that a list's items have, and states have of some of these only."""
        return self.shown.get(kind, frozenset()) & self.get_left_out(kind)

    def get_seen(self, kind: str) -> frozenset[str]:
        """Fields of a list's item of which a state has shown whether they belong into it."""
        return self.shown.get(kind, frozenset()) | self.get_left_out(kind)

    def get_unreliable_fields(self) -> dict[str, frozenset[str]]:
        """Fields, by kind, for which a stored value is better than the assembled one."""
        names = {kind.name: kind.unreliable for kind in get_child_kinds() if kind.unreliable}
        return {
            kind: names.get(kind, frozenset()) | self.state_only.get(kind, frozenset())
            for kind in {*names, *self.state_only}
        }

    def learn(self, kind: str, shown: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        """Take in one object as a state shows it, beside what was made of the list's item."""
        self._add(self.shown, kind, shown.keys() & item.keys())
        self._add(self.left_out, kind, item.keys() - shown.keys())
        self._add(self.state_only, kind, shown.keys() - item.keys() - get_kind(kind).unreliable)

    def _add(self, names: dict[str, frozenset[str]], kind: str, more: AbstractSet[str]) -> None:
        if more:
            names[kind] = names.get(kind, frozenset()) | more

    def merge(self, other: StateFields) -> None:
        """Take in what another has learned."""
        for mine, theirs in zip(self._parts, other._parts, strict=True):
            for kind, names in theirs.items():
                self._add(mine, kind, names)

    @property
    def _parts(self) -> tuple[dict[str, frozenset[str]], ...]:
        return self.shown, self.left_out, self.state_only

    def dump(self) -> dict[str, Any]:
        """As JSON, to be kept with the run."""
        return dict(zip(_NAMES, map(_dump, self._parts), strict=True))

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> StateFields:
        """From what `dump` gave, or from nothing."""
        return cls(*(_load(data.get(name, {})) for name in _NAMES))


def _get_contract(kind: str) -> frozenset[str]:
    """What the contract gives the objects of a state; a customer's own fields are known by themselves."""
    return frozenset() if kind == CUSTOMER.name else get_kind(kind).fields


def _dump(fields: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {kind: sorted(map(escape, names)) for kind, names in fields.items()}


def _load(fields: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {kind: frozenset(map(unescape, names)) for kind, names in fields.items()}
