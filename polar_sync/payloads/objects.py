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
from polar_sync.payloads.kinds import (
    CUSTOMER,
    SUBSCRIPTION,
    Kind,
    get_arrays,
    get_nested_kinds,
    get_state_kinds,
)

Objects = dict[UUID, dict[str, Any]]


class ChildPayload(NamedTuple):
    """One child of a customer: `parent_id` is the customer's, or of the object that holds it.

    `is_in_state` is False for what lists show beside a state, such as a past due subscription.
    """

    id: UUID
    parent_id: UUID
    payload: str
    is_in_state: bool = True


@dataclass(frozen=True, slots=True)
class CustomerPayload:
    """A customer as list, get, create and update answer it.

    `payload` holds the fields of the contract, in a list as in a state, `extra` the others; `organization_id` is None
    where it is unreadable.
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
    """A state: the customer (its `extra` are the state's own further keys) and its children, by kind and id."""

    customer: CustomerPayload
    children: Mapping[str, Mapping[UUID, ChildPayload]]


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
        payload=dump_canonical({key: item for key, item in value.items() if key in CUSTOMER.fields}),
        extra=dump_extra(value),
        created_at=values.read_timestamp(value.get("created_at")),
        modified_at=values.read_timestamp(value.get("modified_at")),
        is_deleted=values.read_timestamp(value.get("deleted_at")) is not None,
    )


def dump_extra(value: Mapping[str, Any]) -> str:
    """The fields that the contract does not name, empty where there are none."""
    extra = {key: item for key, item in value.items() if key not in CUSTOMER.fields}
    return dump_canonical(extra) if extra else ""


def read_state(value: Any, *, outside_state: Sequence[Any] = (), own: CustomerPayload | None = None) -> StatePayload:
    """Read the answer of the state operations, and subscriptions `outside_state` it. Raises `PayloadError`.

    `own` is the customer where it has been read already, all but what only its state has. Of two children with one id
    the later modified one is kept. Where that does not tell, their text does and not their place: the order of the
    arrays carries no meaning and differs between calls.
    """
    read_id(value, what="state")
    arrays = get_arrays()
    fields = {key: item for key, item in value.items() if key not in arrays}
    customer = read_customer(fields) if own is None else replace(own, extra=dump_extra(fields))
    children: dict[str, Mapping[UUID, ChildPayload]] = {}
    for kind in get_state_kinds():
        objects = _read_array(value, kind.array, what=kind.label)
        outside: Objects = {}
        if kind is SUBSCRIPTION:
            outside = _read_array({"outside_state": list(outside_state)}, "outside_state", what=kind.label)
        children |= _dump_children(kind, customer.id, objects, outside=outside)
    return StatePayload(customer, children)


def read_object(
    kind: Kind, value: Any, *, customer_id: UUID, is_in_state: bool = True
) -> dict[str, Mapping[UUID, ChildPayload]]:
    """Read one object as a state shows it, with those that it holds, by kind and id. Raises `PayloadError`."""
    objects = {read_id(value, what=kind.label): value}
    inside, outside = (objects, {}) if is_in_state else ({}, objects)
    return dict(_dump_children(kind, customer_id, inside, outside=outside))


def _dump_children(
    kind: Kind, customer_id: UUID, objects: Objects, *, outside: Objects
) -> Iterator[tuple[str, dict[UUID, ChildPayload]]]:
    """The objects of one kind, and those that they hold. What is both `outside` and in the state is as it is there."""
    every = {**outside, **objects}
    yield (
        kind.name,
        {
            key: ChildPayload(key, customer_id, dump_canonical(_empty_arrays(kind, item)), is_in_state=key in objects)
            for key, item in every.items()
        },
    )
    for nested in get_nested_kinds(kind):
        held = _read_nested(nested, every)
        yield (
            nested.name,
            {key: ChildPayload(key, parent, dump_canonical(item)) for key, (parent, item) in held.items()},
        )


def _empty_arrays(kind: Kind, item: dict[str, Any]) -> dict[str, Any]:
    """An array of what is rows of its own leaves an empty one, so that absent and null are told from none."""
    empty: dict[str, Any] = {
        nested.array: [] for nested in get_nested_kinds(kind) if isinstance(item.get(nested.array), list)
    }
    return {**item, **empty} if empty else item


def _read_nested(kind: Kind, parents: Objects) -> dict[UUID, tuple[UUID, dict[str, Any]]]:
    """Each object with the id of what holds it. Anything but an array is none: they are optional."""
    found: dict[UUID, tuple[UUID, dict[str, Any]]] = {}
    for parent, item in sorted(parents.items()):
        if not isinstance(item.get(kind.array), list):
            continue
        for key, each in _read_array(item, kind.array, what=kind.label).items():
            if key not in found or _rank(each) >= _rank(found[key][1]):
                found[key] = (parent, each)
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
    for kind in get_state_kinds():
        for child in state[kind.array]:
            yield child
            for nested in get_nested_kinds(kind):
                yield from child[nested.array] if isinstance(child.get(nested.array), list) else ()
