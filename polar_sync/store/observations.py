"""What Polar said, and when it read that; several observations of one customer merged into one.

A customer has three parts, each with a reading of its own: its own fields, its own further fields, and its state (the
children and the state's further fields). That Polar knows no such customer is an observation too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from polar_sync.payloads import STATE_AGE, CustomerPayload, Interval, StatePayload, read_customer, read_state
from polar_sync.payloads.objects import ChildPayload, iterate_objects
from polar_sync.store.ordering import ObservationRecord, Reading, Source, bound_start, supersedes, trust_version

UnreliableFields = Mapping[str, frozenset[str]]
"""Fields, by kind of object, of which a stored value is better than the one that was observed."""

REPLICA_LAG = timedelta(seconds=5)
"""Polar reads customers, subscriptions and states from a replica, which may be some seconds behind."""

EVENT_AGE = timedelta(minutes=1)
"""By so much the data of an event may be older than its time: Polar reads them first and takes the time then, and what
a transaction changed while it went on carries a time of before it was committed."""

TRANSACTION_TIME = timedelta(seconds=10)
"""By so much a change may be committed later than the time that it carries."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer about one customer: its fields, or its state, or (neither) that it does not exist.

    `unreliable_fields` is set for a state that was put together from lists; `gone` are then the meters that no list
    has, though one was asked for them by name. `follows` is what was stored of the customer when the request was sent:
    where that still is what is stored, this is later, whatever the clocks say. `is_final` says that there are no lists
    to ask where times leave open which of two states is the later: then the later request holds.
    """

    id: UUID
    reading: Reading
    customer: CustomerPayload | None = None
    state: StatePayload | None = None
    unreliable_fields: UnreliableFields | None = None
    follows: ObservationRecord | None = None
    is_final: bool = False
    gone: frozenset[UUID] = frozenset()


def observe_customer(data: Any, *, interval: Interval, is_written: bool = False) -> Observation:
    """From an item of a list, or the answer to get; `is_written` to create or update. Raises `PayloadError`."""
    customer = read_customer(data)
    reading = _read_written(interval) if is_written else _read_replica(interval)
    return Observation(customer.id, _bound(reading, [data]), customer=customer)


def observe_state(
    data: Any, *, interval: Interval, outside_state: Sequence[Any] = (), is_final: bool = False
) -> Observation:
    """From the answer of a state operation, which may be an hour old, and subscriptions that are in none.

    Raises `PayloadError`.
    """
    state = read_state(data, outside_state=outside_state)
    reading = _bound(Reading(interval.widen(before=STATE_AGE), Source.STATE), iterate_objects(data))
    return Observation(state.customer.id, reading, state=state, is_final=is_final)


def observe_reported_state(data: Any, *, reported_at: datetime) -> Observation:
    """From a `customer.state_changed` event, whose state Polar never takes from its cache. Raises `PayloadError`."""
    state = read_state(data)
    reading = _read_event(reported_at)
    # The newest change in it may be newer than others that were under way and are not in it yet.
    shown = bound_start(reading.interval, iterate_objects(data)).widen(before=TRANSACTION_TIME)
    start = max(shown.start, reading.interval.start)
    return Observation(state.customer.id, replace(reading, interval=Interval(start, reported_at)), state=state)


def observe_reported_customer(data: Any, *, reported_at: datetime) -> Observation:
    """From a `customer.created`, `.updated` or `.deleted` event. Raises `PayloadError`."""
    customer = read_customer(data)
    return Observation(customer.id, _bound(_read_event(reported_at), [data]), customer=customer)


def observe_assembled(
    data: Any,
    *,
    listed: Observation,
    interval: Interval,
    outside_state: Sequence[Any],
    unreliable_fields: UnreliableFields,
    gone: frozenset[UUID] = frozenset(),
    follows: ObservationRecord | None = None,
    is_confirmed: bool = True,
) -> Observation:
    """From a state that was put together from lists, that of the customers as it was `listed`. Raises `PayloadError`.

    `interval` covers all lists, and a later change that one of them shows says nothing of the others. Lists that no
    state has confirmed are no better than a state: of the same version, what a later one says holds.
    """
    state = read_state(data, outside_state=outside_state, own=listed.customer)
    reading = _read_replica(interval)
    if not is_confirmed:
        reading = Reading(reading.interval, Source.STATE)
    return Observation(
        state.customer.id, reading, state=state, unreliable_fields=unreliable_fields, follows=follows, gone=gone
    )


def observe_absence(
    customer_id: UUID, *, interval: Interval, follows: ObservationRecord | None = None, is_written: bool = False
) -> Observation:
    """From a `ResourceNotFound` answer and nothing else; `is_written` where a write was answered so, or deleted."""
    reading = _read_written(interval) if is_written else _read_replica(interval)
    return Observation(customer_id, reading, follows=follows)


def _read_event(reported_at: datetime) -> Reading:
    return Reading(Interval.at(reported_at).widen(before=EVENT_AGE), Source.READ)


def _read_replica(interval: Interval) -> Reading:
    return Reading(interval.widen(before=REPLICA_LAG), Source.READ)


def _read_written(interval: Interval) -> Reading:
    return Reading(interval, Source.WRITTEN)


def _bound(reading: Reading, objects: Iterable[Any]) -> Reading:
    return Reading(bound_start(reading.interval, objects), reading.source)


class Origin(Enum):
    """Who told of the children: Polar's state, its lists, or nobody, as the customer is gone."""

    STATE = "state"
    LISTS = "lists"
    GONE = "gone"


@dataclass(slots=True)
class Children:
    """All children of a customer at one time, by kind and id; `own` is the customer as the same answer shows it."""

    by_kind: Mapping[str, Mapping[UUID, ChildPayload]] = field(default_factory=dict)
    extra: str = ""
    origin: Origin = Origin.GONE
    unreliable_fields: UnreliableFields = field(default_factory=dict)
    own: str | None = None
    gone: frozenset[UUID] = frozenset()
    follows: ObservationRecord | None = None
    is_final: bool = False


@dataclass(slots=True)
class MergedObservation:
    """What holds of each part of one customer; a reading of None means that nothing was said of the part."""

    id: UUID
    own: CustomerPayload | None = None
    own_reading: Reading | None = None
    extra: str = ""
    extra_at: datetime | None = None
    children: Children = field(default_factory=Children)
    children_reading: Reading | None = None
    absence: Observation | None = None

    def add(self, observation: Observation) -> None:
        """Take one more observation in; of two that nothing tells apart the one added later holds."""
        reading = observation.reading
        if observation.state is not None:
            # One that was put together has its customer from the list, which is an observation of its own.
            if observation.unreliable_fields is None:
                self._set_own(observation.state.customer, reading)
            self._set_children(_take_children(observation), reading)
        elif observation.customer is not None:
            self._set_own(observation.customer, reading)
            if self.extra_at is None or reading.interval.end >= self.extra_at:
                self.extra, self.extra_at = observation.customer.extra, reading.interval.end
            if observation.customer.is_deleted:
                self._set_children(Children(), reading)
        else:
            self._set_children(Children(), reading)
            if self.absence is None or reading.interval.end >= self.absence.reading.interval.end:
                self.absence = observation

    def _set_own(self, own: CustomerPayload, reading: Reading) -> None:
        if self.own is None or supersedes(
            reading,
            self.own_reading,
            version=trust_version(own.version, reading),
            stored_version=trust_version(self.own.version, self.own_reading),
        ):
            self.own, self.own_reading = own, reading

    def _set_children(self, children: Children, reading: Reading) -> None:
        if reading.is_preferred(self.children_reading):
            self.children, self.children_reading = children, reading


def merge_observations(observations: Iterable[Observation]) -> dict[UUID, MergedObservation]:
    """One entry a customer, in the order of ids: the order in which rows are inserted and locked everywhere."""
    merged: dict[UUID, MergedObservation] = {}
    for observation in observations:
        merged.setdefault(observation.id, MergedObservation(observation.id)).add(observation)
    return dict(sorted(merged.items()))


def _take_children(observation: Observation) -> Children:
    state = observation.state
    if state is None or state.customer.is_deleted:  # what a deleted customer still holds is about to be revoked
        return Children(extra=state.customer.extra) if state is not None else Children()
    return Children(
        by_kind=state.children,
        extra=state.customer.extra,
        origin=Origin.STATE if observation.unreliable_fields is None else Origin.LISTS,
        unreliable_fields=observation.unreliable_fields or {},
        own=state.customer.payload,
        gone=observation.gone,
        follows=observation.follows,
        is_final=observation.is_final,
    )
