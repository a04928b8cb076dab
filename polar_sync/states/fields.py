"""Which fields the objects of a state have, and which of them the lists can give.

A list's item has more fields than the same object in a state. Which of them belong is known from the contract until
a state has shown it: https://polar.sh/docs/api-reference/customers/state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SUBSCRIPTION = "subscription"
SUBSCRIPTION_METER = "subscriptionmeter"
GRANT = "benefitgrant"
METER = "meter"

_DATED = frozenset({"id", "created_at", "modified_at"})
CONTRACT: Mapping[str, frozenset[str]] = {
    SUBSCRIPTION: _DATED
    | {
        "metadata",
        "custom_field_data",
        "status",
        "amount",
        "currency",
        "recurring_interval",
        "current_period_start",
        "current_period_end",
        "trial_start",
        "trial_end",
        "cancel_at_period_end",
        "canceled_at",
        "started_at",
        "ends_at",
        "product_id",
        "discount_id",
        "price_id",
        "meters",
    },
    SUBSCRIPTION_METER: _DATED | {"consumed_units", "credited_units", "amount", "meter_id"},
    GRANT: _DATED | {"granted_at", "benefit_id", "benefit_type", "benefit_metadata", "properties"},
    METER: _DATED | {"meter_id", "consumed_units", "credited_units", "balance"},
}
# Deprecated: a list can give another value than the state does.
_UNSURE: Mapping[str, frozenset[str]] = {SUBSCRIPTION: frozenset({"price_id"})}
ARRAYS = ("active_subscriptions", "granted_benefits", "active_meters")
CUSTOMER = "customer"


@dataclass(slots=True)
class StateFields:
    """The fields of a state's objects by kind, and those that only a state has.

    `learned` holds the kinds that a state has shown; `state_only` what it showed that the list's item lacked.
    """

    learned: dict[str, frozenset[str]] = field(default_factory=dict)
    state_only: dict[str, frozenset[str]] = field(default_factory=dict)

    def get(self, kind: str) -> frozenset[str]:
        """The fields of one kind."""
        return self.learned.get(kind) or CONTRACT.get(kind, frozenset())

    def get_unsure(self) -> dict[str, frozenset[str]]:
        """Fields, by kind, for which a stored value is better than the assembled one."""
        kinds = {*_UNSURE, *self.state_only}
        return {kind: _UNSURE.get(kind, frozenset()) | self.state_only.get(kind, frozenset()) for kind in kinds}

    def learn(self, kind: str, shown: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        """Take in one object as a state shows it, beside what could be made of the list's item."""
        self.learned[kind] = self.learned.get(kind, frozenset()) | shown.keys()
        lacking = frozenset(shown.keys() - item.keys()) - _UNSURE.get(kind, frozenset())
        if lacking:
            self.state_only[kind] = self.state_only.get(kind, frozenset()) | lacking

    def learn_customer(self, state: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        """The same for the customer's own fields."""
        self.learn(CUSTOMER, {key: value for key, value in state.items() if key not in ARRAYS}, item)

    def dump(self) -> dict[str, Any]:
        """As JSON, to be kept with the run."""
        return {"learned": _dump(self.learned), "state_only": _dump(self.state_only)}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> StateFields:
        """From what `dump` gave, or from nothing."""
        return cls(learned=_load(data.get("learned", {})), state_only=_load(data.get("state_only", {})))


def _dump(fields: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {kind: sorted(names) for kind, names in fields.items()}


def _load(fields: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {kind: frozenset(names) for kind, names in fields.items()}
