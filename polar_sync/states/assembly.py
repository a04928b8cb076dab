"""A state put together from the items of lists, as the state endpoint would have told it.

https://polar.sh/docs/api-reference/subscriptions/list, https://polar.sh/docs/api-reference/benefit-grants/list,
https://polar.sh/docs/api-reference/customer-meters/list
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any
from uuid import UUID

from polar_sync.payloads.interval import Interval
from polar_sync.payloads.objects import CUSTOMER_KEYS
from polar_sync.payloads.values import read_uuid
from polar_sync.states import fields as known
from polar_sync.states.fields import StateFields
from polar_sync.states.rules import PRESENT


@dataclass(slots=True)
class CustomerParts:
    """The list items of one customer, and when each list was read.

    `subscriptions` are those asked for as present, `late` those asked for apart; `meters` those listed unnamed,
    `named` those listed where their meter was named. `missing` are the ids of stored meters that no list
    showed until they were asked for by name, `absent` of those that a request had named already. `is_decided`: Polar's
    own rule has chosen the subscriptions; `is_doubtful`: the lists cannot tell. `began` is from `time.monotonic()`.
    """

    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)
    meters: list[dict[str, Any]] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
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
        if not self.named:
            return []
        shown = {item.get("id") for item in self.meters}
        return list({item.get("id"): item for item in self.named if item.get("id") not in shown}.values())

    @property
    def gone(self) -> frozenset[UUID]:
        """Stored meters that a request which names them did not show."""
        return frozenset(self.absent | (self.missing - get_ids(self.named))) if self.missing else frozenset(self.absent)

    @property
    def present(self) -> list[dict[str, Any]]:
        """The subscriptions that belong into a state; where Polar's own rule was asked, it has decided."""
        if self.is_decided:
            return self.subscriptions
        return [item for item in self.subscriptions if item.get("status") in PRESENT]

    @property
    def outside_state(self) -> list[dict[str, Any]]:
        """Those that were asked for but are in no state: past due."""
        if self.is_decided:
            present = {item.get("id") for item in self.subscriptions}
            return [item for item in self.late if item.get("id") not in present]
        return [item for item in self.subscriptions if item.get("status") not in PRESENT]


def get_ids(items: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """The ids of list items."""
    return {key for each in items if (key := read_uuid(each.get("id"))) is not None}


def assemble(item: Mapping[str, Any], parts: CustomerParts, fields: StateFields) -> dict[str, Any]:
    """The state of a customer from its item in the customers list and the items of the others."""
    own = {key: value for key, value in item.items() if key in CUSTOMER_KEYS or key in fields.get(known.CUSTOMER)}
    return {
        **own,
        "active_subscriptions": [build_subscription(each, fields) for each in parts.present],
        "granted_benefits": [_pick(flatten_grant(each), fields.get(known.GRANT)) for each in parts.grants],
        "active_meters": [_pick(each, fields.get(known.METER)) for each in (*parts.meters, *parts.archived)],
    }


def assemble_whole(item: Mapping[str, Any], parts: CustomerParts) -> dict[str, Any]:
    """The same with every field that the lists have, to be compared with a state."""
    return {
        **item,
        "active_subscriptions": parts.present,
        "granted_benefits": [flatten_grant(each) for each in parts.grants],
        "active_meters": [*parts.meters, *parts.archived],
    }


def build_subscription(item: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    """A subscription as a state shows it."""
    subscription = _pick(item, fields.get(known.SUBSCRIPTION))
    meters = subscription.get("meters")
    if not isinstance(meters, list):
        return subscription
    names = fields.get(known.SUBSCRIPTION_METER)
    return {**subscription, "meters": [_pick(each, names) if isinstance(each, dict) else each for each in meters]}


def flatten_grant(item: dict[str, Any]) -> dict[str, Any]:
    """A grant with the two fields that a state takes from its benefit."""
    benefit = item.get("benefit")
    if not isinstance(benefit, dict):
        return item
    taken = {"benefit_type": "type", "benefit_metadata": "metadata"}
    return {**item, **{name: benefit[source] for name, source in taken.items() if source in benefit}}


def shrink(kind: str, item: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    """An item of the list `kind` without the fields that a state has shown to lack.

    They are most of it, the same over and over.
    """
    if kind in {"subscriptions", "late"}:
        return _shrink_meters(_drop(item, fields.get_left_out(known.SUBSCRIPTION)), fields)
    if kind == "grants":
        left_out = fields.get_left_out(known.GRANT)
        return _drop(flatten_grant(item), left_out) if left_out else item
    return _drop(item, fields.get_left_out(known.METER))


def _shrink_meters(subscription: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    meters, left_out = subscription.get("meters"), fields.get_left_out(known.SUBSCRIPTION_METER)
    if not meters or not left_out or not isinstance(meters, list):
        return subscription
    return {**subscription, "meters": [_drop(each, left_out) if isinstance(each, dict) else each for each in meters]}


def _drop(item: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in names} if names else item


def _pick(item: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return item if item.keys() <= names else {key: value for key, value in item.items() if key in names}
