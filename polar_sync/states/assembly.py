"""A state put together from the items of three lists, as the state endpoint would have told it.

https://polar.sh/docs/api-reference/subscriptions/list, https://polar.sh/docs/api-reference/benefit-grants/list,
https://polar.sh/docs/api-reference/customer-meters/list
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polar_sync.payloads.objects import CUSTOMER_KEYS
from polar_sync.states import fields as known
from polar_sync.states.fields import StateFields

PRESENT = ("active", "trialing")
"""Statuses of the subscriptions that a state holds."""
_NESTED = frozenset({"benefit", "customer", "discount", "member", "meter", "prices", "product"})


@dataclass(slots=True)
class Parts:
    """The list items of one customer, and as of when each list told of them.

    `is_doubtful` says that the lists cannot tell of it; `began` is a time of `time.monotonic()`.
    """

    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)
    meters: list[dict[str, Any]] = field(default_factory=list)
    as_of: dict[str, datetime] = field(default_factory=dict)
    is_doubtful: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def present(self) -> list[dict[str, Any]]:
        """The subscriptions that belong into a state."""
        return [item for item in self.subscriptions if item.get("status") in PRESENT]

    @property
    def beside(self) -> list[dict[str, Any]]:
        """Those that were asked for but are in no state: past due."""
        return [item for item in self.subscriptions if item.get("status") not in PRESENT]


def assemble(item: Mapping[str, Any], parts: Parts, fields: StateFields) -> dict[str, Any]:
    """The state of a customer from its item in the customers list and the items of the three others."""
    own = {key: value for key, value in item.items() if key in CUSTOMER_KEYS or key in fields.get(known.CUSTOMER)}
    return {
        **own,
        "active_subscriptions": [build_subscription(each, fields) for each in parts.present],
        "granted_benefits": [_pick(flatten_grant(each), fields.get(known.GRANT)) for each in parts.grants],
        "active_meters": [_pick(each, fields.get(known.METER)) for each in parts.meters],
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
    """An item of the list `kind` without the objects that it carries beside its own fields.

    They are most of it, the same over and over. Until a state has shown that it lacks them, they stay.
    """
    if kind == "subscriptions":
        return _drop_nested_meters(_drop_nested(item, known.SUBSCRIPTION, fields), fields)
    if kind == "grants" and known.GRANT in fields.learned:
        return _drop_nested(flatten_grant(item), known.GRANT, fields)
    return _drop_nested(item, known.METER, fields) if kind == "meters" else item


def _drop_nested_meters(subscription: dict[str, Any], fields: StateFields) -> dict[str, Any]:
    meters = subscription.get("meters")
    if not meters or not isinstance(meters, list):
        return subscription
    kind = known.SUBSCRIPTION_METER
    dropped = [_drop_nested(each, kind, fields) if isinstance(each, dict) else each for each in meters]
    return {**subscription, "meters": dropped}


def _drop_nested(item: dict[str, Any], kind: str, fields: StateFields) -> dict[str, Any]:
    shown = fields.learned.get(kind)
    if shown is None:
        return item
    return {key: value for key, value in item.items() if key not in _NESTED or key in shown}


def learn(fields: StateFields, state: Mapping[str, Any], item: Mapping[str, Any], parts: Parts) -> None:
    """Learn from a customer's own state, beside the items of the same customer."""
    fields.learn_customer(state, item)
    _learn_kind(fields, known.SUBSCRIPTION, state["active_subscriptions"], parts.present)
    _learn_kind(fields, known.GRANT, state["granted_benefits"], [flatten_grant(each) for each in parts.grants])
    _learn_kind(fields, known.METER, state["active_meters"], parts.meters)
    listed = {each["id"]: each.get("meters") for each in parts.present}
    for subscription in _dicts(state["active_subscriptions"]):
        beside = listed.get(subscription.get("id"))
        _learn_kind(fields, known.SUBSCRIPTION_METER, subscription.get("meters"), beside)


def _learn_kind(fields: StateFields, kind: str, shown: Any, items: Any) -> None:
    by_id = {each.get("id"): each for each in _dicts(items)}
    for each in _dicts(shown):
        if each.get("id") in by_id:
            fields.learn(kind, each, by_id[each["id"]])


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _pick(item: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return item if item.keys() <= names else {key: value for key, value in item.items() if key in names}
