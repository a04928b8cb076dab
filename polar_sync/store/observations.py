"""What Polar said, and as of when it was true; several of one customer folded into one.

A customer has three parts that each follow the latest word about them: its own fields, its own further fields, and
its state (the children and the state's further fields). That Polar knows no such customer is a word too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from polar_sync.payloads import CustomerPayload, StatePayload, read_customer, read_state
from polar_sync.payloads.objects import ChildPayload, iterate_objects
from polar_sync.payloads.values import bound_time

Unsure = Mapping[str, frozenset[str]]
"""Fields, by kind of object, of which a stored value is better than the one that was observed."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer about one customer: its fields, or its state, or (neither) that it does not exist.

    `as_of` is aware and on Polar's clock. `unsure` is set for a state that was put together from lists.
    """

    id: UUID
    as_of: datetime
    customer: CustomerPayload | None = None
    state: StatePayload | None = None
    unsure: Unsure | None = None


def observe_customer(data: Any, *, as_of: datetime) -> Observation:
    """From an item of a list, or the answer to get, create or update. Raises `PayloadError`."""
    customer = read_customer(data)
    return Observation(customer.id, bound_time(as_of, [data]), customer=customer)


def observe_state(data: Any, *, as_of: datetime) -> Observation:
    """From the answer of a state operation. Raises `PayloadError`."""
    state = read_state(data)
    return Observation(state.customer.id, bound_time(as_of, iterate_objects(data)), state=state)


def observe_assembled(
    data: Any, *, listed: Observation, as_of: datetime, beside: Sequence[Any], unsure: Unsure
) -> Observation:
    """From a state that was put together from lists, that of the customers as it was `listed`. Raises `PayloadError`.

    `as_of` is the earliest of the lists' times, and is not moved by a later change that only one of them shows.
    """
    state = read_state(data, beside=beside, own=listed.customer)
    return Observation(state.customer.id, as_of, state=state, unsure=unsure)


def observe_absence(customer_id: UUID, *, as_of: datetime) -> Observation:
    """From a `ResourceNotFound` answer, and from nothing else."""
    return Observation(customer_id, as_of)


class Origin(Enum):
    """Who told of the children: Polar's state, its lists (no archived meters), or nobody, as the customer is gone."""

    STATE = "state"
    LISTS = "lists"
    GONE = "gone"


@dataclass(slots=True)
class Children:
    """All children of a customer at one time, by kind and id."""

    subscriptions: Mapping[UUID, ChildPayload] = field(default_factory=dict)
    subscription_meters: Mapping[UUID, ChildPayload] = field(default_factory=dict)
    grants: Mapping[UUID, ChildPayload] = field(default_factory=dict)
    meters: Mapping[UUID, ChildPayload] = field(default_factory=dict)
    extra: str = ""
    origin: Origin = Origin.GONE
    unsure: Unsure = field(default_factory=dict)


@dataclass(slots=True)
class Folded:
    """The latest word about each part of one customer; a time of None means that nothing was said of the part."""

    id: UUID
    own: CustomerPayload | None = None
    own_at: datetime | None = None
    extra: str = ""
    extra_at: datetime | None = None
    children: Children = field(default_factory=Children)
    children_at: datetime | None = None
    absent_at: datetime | None = None

    def add(self, observation: Observation) -> None:
        """Take one more observation in; of two with the same time the one added later holds."""
        if observation.state is not None:
            if observation.unsure is None:  # else its customer is as the list told of it, which is a word of its own
                self._set_own(observation.state.customer, observation.as_of)
            self._set_children(_take_children(observation.state, observation.unsure), observation.as_of)
        elif observation.customer is not None:
            self._set_own(observation.customer, observation.as_of)
            if is_due(observation.as_of, self.extra_at):
                self.extra, self.extra_at = observation.customer.extra, observation.as_of
            if observation.customer.is_deleted:
                self._set_children(Children(), observation.as_of)
        else:
            self._set_children(Children(), observation.as_of)
            if is_due(observation.as_of, self.own_at) and is_due(observation.as_of, self.absent_at):
                self.absent_at = observation.as_of

    def _set_own(self, own: CustomerPayload, as_of: datetime) -> None:
        if is_due(as_of, self.own_at):
            self.own, self.own_at = own, as_of
        if self.absent_at is not None and as_of >= self.absent_at:
            self.absent_at = None

    def _set_children(self, children: Children, as_of: datetime) -> None:
        if is_due(as_of, self.children_at):
            self.children, self.children_at = children, as_of


def is_due(as_of: datetime, stored: datetime | None) -> bool:
    """Whether a word of that time holds against a stored one. Equal times: the later arrival wins."""
    return stored is None or as_of >= stored


def fold(observations: Iterable[Observation]) -> dict[UUID, Folded]:
    """One entry a customer, in the order of ids: the order in which rows are inserted and locked everywhere."""
    folded: dict[UUID, Folded] = {}
    for observation in observations:
        folded.setdefault(observation.id, Folded(observation.id)).add(observation)
    return dict(sorted(folded.items()))


def _take_children(state: StatePayload, unsure: Unsure | None) -> Children:
    return Children(
        subscriptions=state.subscriptions,
        subscription_meters=state.subscription_meters,
        grants=state.grants,
        meters=state.meters,
        extra=state.customer.extra,
        origin=Origin.STATE if unsure is None else Origin.LISTS,
        unsure=unsure or {},
    )
