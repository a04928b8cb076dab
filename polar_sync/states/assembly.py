"""A state put together from the items of lists, as the state endpoint would have told it.

https://polar.sh/docs/api-reference/subscriptions/list, https://polar.sh/docs/api-reference/benefit-grants/list,
https://polar.sh/docs/api-reference/customer-meters/list
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any
from uuid import UUID

from polar_sync.payloads.interval import Interval
from polar_sync.payloads.kinds import (
    CUSTOMER,
    METER,
    PRESENT,
    SUBSCRIPTION,
    Kind,
    get_nested_kinds,
    get_state_kinds,
)
from polar_sync.payloads.values import read_uuid
from polar_sync.states.fields import StateFields
from polar_sync.states.rules import LATE

NAMED = "named"


@dataclass(slots=True)
class CustomerParts:
    """The list items of one customer, and when each list was read.

    `items` are by kind; those asked for apart are under `LATE`, meters listed where their meter was named under
    `NAMED`. `missing` are the ids of stored meters that no list showed until they were asked for by name, `absent` of
    those that a request had named already. `is_decided`: Polar's own rule has chosen the subscriptions; `is_doubtful`:
    the lists cannot tell. `began` is from `time.monotonic()`.
    """

    items: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    missing: set[UUID] = field(default_factory=set)
    absent: set[UUID] = field(default_factory=set)
    intervals: dict[str, Interval] = field(default_factory=dict)
    is_decided: bool = False
    is_doubtful: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def interval(self) -> Interval:
        """All lists were read within it."""
        return reduce(Interval.hull, self.intervals.values())

    @property
    def archived(self) -> list[dict[str, Any]]:
        """The meters that are listed only where they are named."""
        if not self.items[NAMED]:
            return []
        shown = {item.get("id") for item in self.items[METER.name]}
        return list({item.get("id"): item for item in self.items[NAMED] if item.get("id") not in shown}.values())

    @property
    def gone(self) -> frozenset[UUID]:
        """Stored meters that a request which names them did not show."""
        return frozenset(self.absent | (self.missing - get_ids(self.items[NAMED])))

    @property
    def present(self) -> list[dict[str, Any]]:
        """The subscriptions that belong into a state; where Polar's own rule was asked, it has decided."""
        if self.is_decided:
            return self.items[SUBSCRIPTION.name]
        return [item for item in self.items[SUBSCRIPTION.name] if item.get("status") in PRESENT]

    @property
    def outside_state(self) -> list[dict[str, Any]]:
        """Those that were asked for but are in no state: past due."""
        if self.is_decided:
            present = {item.get("id") for item in self.items[SUBSCRIPTION.name]}
            return [item for item in self.items[LATE] if item.get("id") not in present]
        return [item for item in self.items[SUBSCRIPTION.name] if item.get("status") not in PRESENT]

    def get_listed(self, kind: Kind) -> list[dict[str, Any]]:
        """The items of one kind that belong into a state."""
        if kind is SUBSCRIPTION:
            return self.present
        return [*self.items[kind.name], *self.archived] if kind is METER else self.items[kind.name]


def get_ids(items: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """The ids of list items."""
    return {key for each in items if (key := read_uuid(each.get("id"))) is not None}


def assemble(item: Mapping[str, Any], parts: CustomerParts, fields: StateFields) -> dict[str, Any]:
    """The state of a customer from its item in the customers list and the items of the others."""
    own = {key: value for key, value in item.items() if key in CUSTOMER.fields or key in fields.get(CUSTOMER.name)}
    return own | {
        kind.array: [build_object(kind, each, fields) for each in parts.get_listed(kind)] for kind in get_state_kinds()
    }


def assemble_whole(item: Mapping[str, Any], parts: CustomerParts) -> dict[str, Any]:
    """The same with every field that the lists have, to be compared with a state."""
    return dict(item) | {
        kind.array: [kind.from_item(each) for each in parts.get_listed(kind)] for kind in get_state_kinds()
    }


def build_object(kind: Kind, item: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    """A list's item as a state shows it."""
    found = _pick(kind.from_item(item), fields.get(kind.name))
    for nested in get_nested_kinds(kind):
        held = found.get(nested.array)
        if isinstance(held, list):
            names = fields.get(nested.name)
            found = {**found, nested.array: [_pick(each, names) if isinstance(each, dict) else each for each in held]}
    return found


def shrink(kind: Kind, item: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    """A list's item without the fields that a state has shown to lack.

    They are most of it, the same over and over.
    """
    left_out = fields.get_left_out(kind.name)
    found = _drop(kind.from_item(item), left_out) if left_out else item
    for nested in get_nested_kinds(kind):
        held, names = found.get(nested.array), fields.get_left_out(nested.name)
        if held and names and isinstance(held, list):
            found = {**found, nested.array: [_drop(each, names) if isinstance(each, dict) else each for each in held]}
    return found


def _drop(item: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in names} if names else item


def _pick(item: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return item if item.keys() <= names else {key: value for key, value in item.items() if key in names}
