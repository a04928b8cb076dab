"""The two answers that carry what is mirrored: a customer, and a customer with all of its state.

https://polar.sh/docs/api-reference/customers/state
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from polar_sync.exceptions import PayloadError
from polar_sync.payloads import values
from polar_sync.payloads.canonical import dump_canonical
from polar_sync.payloads.projection import CUSTOMER, GRANT, METER, SUBSCRIPTION, SUBSCRIPTION_METER

CUSTOMER_KEYS = frozenset({"id", "organization_id", *CUSTOMER.columns})
"""What Polar's contract names of a customer, in a list as in a state. Anything else is kept apart by its origin."""
_CHILD_ARRAYS = ("active_subscriptions", "granted_benefits", "active_meters")


class ChildPayload(NamedTuple):
    """One child of a customer: `parent_id` is the subscription's for a subscription meter, else the customer's.

    `is_in_state` is False for what lists show beside a state, such as a past due subscription.
    """

    id: UUID
    parent_id: UUID
    payload: str
    is_in_state: bool = True


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
    modified_at: datetime | None
    is_deleted: bool

    @property
    def version(self) -> datetime | None:
        """When it was last changed itself, or created."""
        return self.modified_at or self.created_at


@dataclass(frozen=True, slots=True)
class StatePayload:
    """A customer's state: the customer (its `extra` are the state's own further keys) and its children by id."""

    customer: CustomerPayload
    subscriptions: Mapping[UUID, ChildPayload]
    subscription_meters: Mapping[UUID, ChildPayload]
    grants: Mapping[UUID, ChildPayload]
    meters: Mapping[UUID, ChildPayload]


def read_id(value: Any, *, what: str) -> UUID:
    """The `id` of a JSON object. Raises `PayloadError` where there is none, the one thing that cannot be mirrored."""
    if not isinstance(value, dict):
        raise PayloadError(f"{what} is not an object but {type(value).__name__}")
    identifier = values.read_uuid(value.get("id"))
    if identifier is None:
        raise PayloadError(f"{what} has no valid id: {_describe(value.get('id'))}")
    return identifier


def _describe(value: Any) -> str:
    return ascii(value[:60]) if isinstance(value, str) else type(value).__name__


def read_customer(value: Any) -> CustomerPayload:
    """Read one item of a list, or the answer to get, create or update."""
    identifier = read_id(value, what="customer")
    return CustomerPayload(
        id=identifier,
        organization_id=values.read_uuid(value.get("organization_id")),
        payload=dump_canonical({key: item for key, item in value.items() if key in CUSTOMER_KEYS}),
        extra=_dump_extra(value),
        created_at=values.read_timestamp(value.get("created_at")),
        modified_at=values.read_timestamp(value.get("modified_at")),
        is_deleted=values.read_timestamp(value.get("deleted_at")) is not None,
    )


def _dump_extra(value: Mapping[str, Any]) -> str:
    extra = {key: item for key, item in value.items() if key not in CUSTOMER_KEYS}
    return dump_canonical(extra) if extra else ""


def read_state(value: Any, *, outside_state: Sequence[Any] = (), own: CustomerPayload | None = None) -> StatePayload:
    """Read the answer of the state operations, and subscriptions `outside_state` it. Raises `PayloadError`.

    `own` is the customer where it has been read already, all but what only its state has. Of two children with one id
    the later modified one is kept. Where that does not tell, their text does and not their place: the order of the
    arrays carries no meaning and differs between calls.
    """
    read_id(value, what="state")
    fields = {key: item for key, item in value.items() if key not in _CHILD_ARRAYS}
    customer = read_customer(fields) if own is None else replace(own, extra=_dump_extra(fields))
    subscriptions = _read_array(value, "active_subscriptions", what=SUBSCRIPTION.name)
    grants = _read_array(value, "granted_benefits", what=GRANT.name)
    meters = _read_array(value, "active_meters", what=METER.name)
    others = _read_array({"beside": list(outside_state)}, "beside", what=SUBSCRIPTION.name)
    subscriptions = {**others, **subscriptions}
    outside = others.keys() - {read_id(item, what=SUBSCRIPTION.name) for item in value["active_subscriptions"]}
    subscription_meters = _read_all_subscription_meters(subscriptions)
    return StatePayload(
        customer=customer,
        subscriptions={
            key: ChildPayload(key, customer.id, dump_canonical(_without_meters(item)), is_in_state=key not in outside)
            for key, item in subscriptions.items()
        },
        subscription_meters={
            key: ChildPayload(key, parent, dump_canonical(meter))
            for key, (parent, meter) in subscription_meters.items()
        },
        grants=_keep(customer.id, grants),
        meters=_keep(customer.id, meters),
    )


def _keep(customer_id: UUID, objects: Mapping[UUID, dict[str, Any]]) -> dict[UUID, ChildPayload]:
    return {key: ChildPayload(key, customer_id, dump_canonical(item)) for key, item in objects.items()}


def _without_meters(subscription: dict[str, Any]) -> dict[str, Any]:
    """An array of meters leaves an empty one in its place, so that absent and null are told from none."""
    if isinstance(subscription.get("meters"), list):
        return {**subscription, "meters": []}
    return subscription


def _read_all_subscription_meters(
    subscriptions: Mapping[UUID, dict[str, Any]],
) -> dict[UUID, tuple[UUID, dict[str, Any]]]:
    """Each meter with the id of its subscription. Anything but an array is no meters: they are optional."""
    found: dict[UUID, tuple[UUID, dict[str, Any]]] = {}
    for parent, subscription in sorted(subscriptions.items()):
        if not isinstance(subscription.get("meters"), list):
            continue
        for key, meter in _read_array(subscription, "meters", what=SUBSCRIPTION_METER.name).items():
            if key not in found or _rank(meter) >= _rank(found[key][1]):
                found[key] = (parent, meter)
    return found


def _read_array(value: dict[str, Any], key: str, *, what: str) -> dict[UUID, dict[str, Any]]:
    items = value.get(key)
    if not isinstance(items, list):
        raise PayloadError(f"{key} is not an array but {type(items).__name__}: its absence must not end anything")
    found: dict[UUID, dict[str, Any]] = {}
    for item in items:
        identifier = read_id(item, what=what)
        if identifier not in found or _rank(item) >= _rank(found[identifier]):
            found[identifier] = item
    return found


def _rank(item: dict[str, Any]) -> tuple[datetime, str]:
    return values.read_newest(item) or datetime.min.replace(tzinfo=UTC), dump_canonical(item)


def iterate_objects(state: Mapping[str, Any]) -> Iterator[Any]:
    """A state's customer and all of its children."""
    yield state
    for name in _CHILD_ARRAYS:
        for child in state[name]:
            yield child
            yield from child["meters"] if isinstance(child.get("meters"), list) else ()
