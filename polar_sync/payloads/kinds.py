"""The kinds of objects that are mirrored: an entry for each, from which everybody else takes what they need of it.

https://polar.sh/docs/api-reference/customers/state
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polar_sync.payloads import values
from polar_sync.payloads.canonical import load_canonical

Reader = Callable[[Any], Any]

PRESENT = ("active", "trialing")
"""Statuses of the subscriptions that a state holds, as far as this package knows."""
PAST_DUE = "past_due"
_DATED: dict[str, Reader] = {"created_at": values.read_timestamp, "modified_at": values.read_timestamp}


def _as_it_is(item: dict[str, Any]) -> dict[str, Any]:
    return item


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of object.

    | | |
    | --- | --- |
    | `name` | what it is called in changes, counts, verifications and what a run keeps |
    | `label` | the same in messages |
    | `columns` | the columns that an object is projected to, each with its reader |
    | `array` | where a state holds such objects; of one with a `parent`, where the parent does |
    | `more_fields`, `list_only` | fields of the contract that a state's object has beyond its columns, or lacks |
    | `trait` | the field by which Polar tells such objects apart |
    | `unreliable` | fields for which a list can give another value than the state does |
    | `unversioned` | fields that change without the object's `modified_at` |
    | `operation`, `parameters` | Polar's list of them, as the client's attribute, and what it is asked for |
    | `from_item` | from the list's item to the object of a state, but for fields that only the item has |
    """

    name: str
    label: str
    columns: Mapping[str, Reader]
    array: str = ""
    parent: Kind | None = None
    more_fields: frozenset[str] = frozenset()
    list_only: frozenset[str] = frozenset()
    trait: str = ""
    unreliable: frozenset[str] = frozenset()
    unversioned: frozenset[str] = frozenset()
    operation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    from_item: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is
    timestamps: frozenset[str] = field(init=False)
    fields: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = (name for name, reader in self.columns.items() if reader is values.read_timestamp)
        object.__setattr__(self, "timestamps", frozenset(names))
        fields = frozenset({"id", *self.columns}) | self.more_fields
        object.__setattr__(self, "fields", fields - self.list_only)

    def project(self, payload: str) -> dict[str, Any]:
        """Column values of a canonical object; an absent key projects as null."""
        data = load_canonical(payload)
        return {name: reader(data.get(name)) for name, reader in self.columns.items()}


def flatten_grant(item: dict[str, Any]) -> dict[str, Any]:
    """A grant with the two fields that a state takes from its benefit."""
    benefit = item.get("benefit")
    if not isinstance(benefit, dict):
        return item
    taken = {"benefit_type": "type", "benefit_metadata": "metadata"}
    return {**item, **{name: benefit[source] for name, source in taken.items() if source in benefit}}


CUSTOMER = Kind(
    "customer",
    "customer",
    {
        **_DATED,
        "metadata": values.read_json,
        "external_id": values.read_key,
        "email": values.read_label,
        "email_verified": values.read_boolean,
        "type": values.read_label,
        "name": values.read_label,
        "billing_name": values.read_text,
        "billing_address": values.read_json,
        "tax_id": values.read_json,
        "locale": values.read_text,
        "default_payment_method_id": values.read_uuid,
        "deleted_at": values.read_timestamp,
        "first_user_event_at": values.read_timestamp,
        "avatar_url": values.read_text,
    },
    more_fields=frozenset({"organization_id"}),
    trait="type",
    unversioned=frozenset({"first_user_event_at", "avatar_url"}),
)
SUBSCRIPTION = Kind(
    "subscription",
    "subscription",
    {
        **_DATED,
        "metadata": values.read_json,
        "custom_field_data": values.read_json,
        "status": values.read_label,
        "amount": values.read_integer,
        "currency": values.read_label,
        "recurring_interval": values.read_label,
        "current_period_start": values.read_timestamp,
        "current_period_end": values.read_timestamp,
        "trial_start": values.read_timestamp,
        "trial_end": values.read_timestamp,
        "cancel_at_period_end": values.read_boolean,
        "canceled_at": values.read_timestamp,
        "started_at": values.read_timestamp,
        "ends_at": values.read_timestamp,
        "product_id": values.read_uuid,
        "discount_id": values.read_uuid,
        "price_id": values.read_uuid,
        "seats": values.read_integer,
        "units": values.read_integer,
    },
    array="active_subscriptions",
    more_fields=frozenset({"meters"}),
    list_only=frozenset({"seats", "units"}),
    trait="status",
    unreliable=frozenset({"price_id"}),  # deprecated
    operation="subscriptions",
    parameters={"status": (*PRESENT, PAST_DUE)},
)
SUBSCRIPTION_METER = Kind(
    "subscription_meter",
    "subscription meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "amount": values.read_integer,
    },
    array="meters",
    parent=SUBSCRIPTION,
)
BENEFIT_GRANT = Kind(
    "benefit_grant",
    "benefit grant",
    {
        **_DATED,
        "granted_at": values.read_timestamp,
        "benefit_id": values.read_uuid,
        "benefit_type": values.read_label,
        "benefit_metadata": values.read_json,
        "properties": values.read_json,
    },
    array="granted_benefits",
    trait="benefit_type",
    operation="benefit_grants",
    parameters={"is_granted": True},
    from_item=flatten_grant,
)
METER = Kind(
    "meter",
    "meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "balance": values.read_number,
    },
    array="active_meters",
    operation="customer_meters",
)

# In the order of writing: what a parent holds needs it to exist.
_CHILD_KINDS: tuple[Kind, ...] = (SUBSCRIPTION, SUBSCRIPTION_METER, BENEFIT_GRANT, METER)


def get_child_kinds() -> tuple[Kind, ...]:
    """All kinds below a customer, each after its parent."""
    return _CHILD_KINDS


def get_state_kinds() -> list[Kind]:
    """Those whose objects a state holds itself."""
    return [kind for kind in _CHILD_KINDS if kind.parent is None]


def get_nested_kinds(parent: Kind) -> list[Kind]:
    """Those whose objects an object of this kind holds."""
    return [kind for kind in _CHILD_KINDS if kind.parent is parent]


def get_kind(name: str) -> Kind:
    """The kind of that name; KeyError where there is none."""
    return {kind.name: kind for kind in (CUSTOMER, *_CHILD_KINDS)}[name]


def get_arrays() -> frozenset[str]:
    """The names of the arrays of a state."""
    return frozenset(kind.array for kind in get_state_kinds())
