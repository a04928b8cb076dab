"""Which model holds the rows of which kind of object, and how its rows reach their customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polar_sync.models.benefit_grant import BenefitGrant
from polar_sync.models.meter import Meter
from polar_sync.models.subscription import Subscription, SubscriptionMeter
from polar_sync.payloads.kinds import BENEFIT_GRANT, METER, SUBSCRIPTION, SUBSCRIPTION_METER, Kind


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of one kind of child.

    `parent` is the column with the id of what they belong to, `owner` leads to the customer's id, `accessor` is how the
    parent names them. `flag` leads to the column that says whether a state holds them; empty where one always does.
    """

    kind: Kind
    model: Any
    parent: str
    owner: str
    accessor: str
    flag: str = ""

    @property
    def is_flagged(self) -> bool:
        """Whether its rows say themselves whether a state holds them, rather than what they belong to."""
        return bool(self.flag) and self.kind.parent is None

    @property
    def name(self) -> str:
        """Of the kind."""
        return self.kind.name


# In the order of `get_child_kinds`.
_TABLES: tuple[Table, ...] = (
    Table(SUBSCRIPTION, Subscription, "customer_id", "customer_id", "subscriptions", "is_in_state"),
    Table(
        SUBSCRIPTION_METER,
        SubscriptionMeter,
        "subscription_id",
        "subscription__customer_id",
        "meters",
        "subscription__is_in_state",
    ),
    Table(BENEFIT_GRANT, BenefitGrant, "customer_id", "customer_id", "benefit_grants"),
    Table(METER, Meter, "customer_id", "customer_id", "meters"),
)


def get_tables() -> tuple[Table, ...]:
    """All of them, each after that of its parent."""
    return _TABLES


def get_state_tables() -> list[Table]:
    """Those whose rows belong to a customer directly."""
    return [table for table in _TABLES if table.kind.parent is None]


def get_nested_tables(parent: Table) -> list[Table]:
    """Those whose rows belong to rows of this one."""
    return [table for table in _TABLES if table.kind.parent is parent.kind]


def list_prefetched() -> list[str]:
    """What a customer's state takes, as `prefetch_related` wants it."""
    found = []
    for table in get_state_tables():
        nested = [f"{table.accessor}__{each.accessor}" for each in get_nested_tables(table)]
        found += nested or [table.accessor]
    return found
