"""The five kinds of object that are mirrored, and the two answers that carry them.

https://polar.sh/docs/api-reference/customers/state
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.exceptions import PayloadError
from polar_sync.payloads import values
from polar_sync.payloads.canonical import dump_canonical, load_canonical

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns that a kind of object is projected to, each with its reader; `name` is for messages."""

    name: str
    columns: Mapping[str, Reader]
    timestamps: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = (name for name, reader in self.columns.items() if reader is values.read_timestamp)
        object.__setattr__(self, "timestamps", frozenset(names))

    def project(self, payload: str) -> dict[str, Any]:
        """Column values of a canonical object; an absent key projects as null."""
        data = load_canonical(payload)
        return {name: reader(data.get(name)) for name, reader in self.columns.items()}


_DATED: dict[str, Reader] = {"created_at": values.read_timestamp, "modified_at": values.read_timestamp}

CUSTOMER = Shape(
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
)
SUBSCRIPTION = Shape(
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
)
SUBSCRIPTION_METER = Shape(
    "subscription meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "amount": values.read_integer,
    },
)
GRANT = Shape(
    "benefit grant",
    {
        **_DATED,
        "granted_at": values.read_timestamp,
        "benefit_id": values.read_uuid,
        "benefit_type": values.read_label,
        "benefit_metadata": values.read_json,
        "properties": values.read_json,
    },
)
METER = Shape(
    "meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "balance": values.read_number,
    },
)

CUSTOMER_KEYS = frozenset({"id", "organization_id", *CUSTOMER.columns})
"""What Polar's contract names of a customer, in a list as in a state. Anything else is kept apart by its origin."""
_CHILD_ARRAYS = ("active_subscriptions", "granted_benefits", "active_meters")


@dataclass(frozen=True, slots=True)
class ChildPayload:
    """One child of a customer: `parent_id` is the subscription's for a subscription meter, else the customer's."""

    id: UUID
    parent_id: UUID
    payload: str


@dataclass(frozen=True, slots=True)
class CustomerPayload:
    """A customer as list, get, create and update answer it.

    `payload` holds the fields of the contract, `extra` the others; `organization_id` is None where it is unreadable.
    """

    id: UUID
    organization_id: UUID | None
    payload: str
    extra: str
    created_at: datetime | None
    newest_at: datetime | None
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class StatePayload:
    """A customer's state: the customer (its `extra` are the state's own further keys) and its children by id."""

    customer: CustomerPayload
    subscriptions: Mapping[UUID, ChildPayload]
    subscription_meters: Mapping[UUID, ChildPayload]
    grants: Mapping[UUID, ChildPayload]
    meters: Mapping[UUID, ChildPayload]
    newest_at: datetime | None


def read_id(value: Any, *, what: str) -> UUID:
    """The `id` of a JSON object. Raises `PayloadError` where there is none, the one thing that cannot be mirrored."""
    if not isinstance(value, dict):
        raise PayloadError(f"{what} is not an object but {type(value).__name__}")
    identifier = values.read_uuid(value.get("id"))
    if identifier is None:
        raise PayloadError(f"{what} has no valid id: {str(value.get('id'))[:60]!a}")
    return identifier


def read_customer(value: Any) -> CustomerPayload:
    """Read one item of a list, or the answer to get, create or update."""
    identifier = read_id(value, what="customer")
    own = {key: item for key, item in value.items() if key in CUSTOMER_KEYS}
    extra = {key: item for key, item in value.items() if key not in CUSTOMER_KEYS}
    return CustomerPayload(
        id=identifier,
        organization_id=values.read_uuid(value.get("organization_id")),
        payload=dump_canonical(own),
        extra=dump_canonical(extra) if extra else "",
        created_at=values.read_timestamp(value.get("created_at")),
        newest_at=_newest([value]),
        is_deleted=values.read_timestamp(value.get("deleted_at")) is not None,
    )


def read_state(value: Any) -> StatePayload:
    """Read the answer of the state operations. Of two children with one id, the later modified one is kept."""
    read_id(value, what="state")
    customer = read_customer({key: item for key, item in value.items() if key not in _CHILD_ARRAYS})
    subscriptions = _read_array(value, "active_subscriptions", what=SUBSCRIPTION.name)
    grants = _read_array(value, "granted_benefits", what=GRANT.name)
    meters = _read_array(value, "active_meters", what=METER.name)
    subscription_meters: dict[UUID, tuple[UUID, dict[str, Any]]] = {}
    for identifier, subscription in subscriptions.items():
        for meter_id, meter in _read_subscription_meters(subscription).items():
            subscription_meters[meter_id] = (identifier, meter)
    objects = [*subscriptions.values(), *grants.values(), *meters.values()]
    objects += [meter for _, meter in subscription_meters.values()]
    return StatePayload(
        customer=customer,
        subscriptions=_keep(customer.id, {key: _without_meters(item) for key, item in subscriptions.items()}),
        subscription_meters={
            key: ChildPayload(key, parent, dump_canonical(meter))
            for key, (parent, meter) in subscription_meters.items()
        },
        grants=_keep(customer.id, grants),
        meters=_keep(customer.id, meters),
        newest_at=_newest([value, *objects]),
    )


def _keep(customer_id: UUID, objects: Mapping[UUID, dict[str, Any]]) -> dict[UUID, ChildPayload]:
    return {key: ChildPayload(key, customer_id, dump_canonical(item)) for key, item in objects.items()}


def _without_meters(subscription: dict[str, Any]) -> dict[str, Any]:
    """An array of meters leaves an empty one in its place, so that absent and null are told from none."""
    if isinstance(subscription.get("meters"), list):
        return {**subscription, "meters": []}
    return subscription


def _read_subscription_meters(subscription: dict[str, Any]) -> dict[UUID, dict[str, Any]]:
    """Anything but an array is no meters: they are optional, unlike the arrays of a state."""
    if not isinstance(subscription.get("meters"), list):
        return {}
    return _read_array(subscription, "meters", what=SUBSCRIPTION_METER.name)


def _read_array(value: dict[str, Any], key: str, *, what: str) -> dict[UUID, dict[str, Any]]:
    items = value.get(key)
    if not isinstance(items, list):
        raise PayloadError(f"{key} is not an array but {type(items).__name__}: its absence must not end anything")
    found: dict[UUID, dict[str, Any]] = {}
    for item in items:
        identifier = read_id(item, what=what)
        if identifier not in found or not _is_later(found[identifier], item):
            found[identifier] = item
    return found


def _is_later(one: dict[str, Any], other: dict[str, Any]) -> bool:
    left, right = _newest([one]), _newest([other])
    return left is not None and (right is None or left > right)


def _newest(objects: list[dict[str, Any]]) -> datetime | None:
    return max(_iterate_changes(objects), default=None)


def _iterate_changes(objects: list[dict[str, Any]]) -> Iterator[datetime]:
    for item in objects:
        for key in ("created_at", "modified_at"):
            instant = values.read_timestamp(item.get(key))
            if instant is not None:
                yield instant
