"""Customers of whom times leave open what they have now: the lists decide, asked after all that is stored was read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.exceptions import MissingScopeError, NotFoundError, PayloadError, PolarSyncError
from polar_sync.payloads import load_canonical
from polar_sync.payloads.kinds import get_nested_kinds, get_state_kinds
from polar_sync.states import Knowledge, ListReader, RowEstimates, StateAnswer, ask_lists, stops_fetching, wait_for
from polar_sync.store import Observation, ObservationRecord, observe_absence, observe_assembled, observe_customer
from polar_sync.sync.connections import Connection
from polar_sync.sync.sources import get_mirrored

MAX_ROUNDS = 3
"""Times that a customer is asked for again whom others keep changing meanwhile."""
KEPT_CHANGING = "Others kept changing it here while Polar was asked about it; the next run decides."


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One such customer: what is `stored` of when it was read, and the observation that did not decide.

    `item` is the customer as a list showed it, None where it was on none.
    """

    stored: ObservationRecord
    observation: Observation
    item: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was found out about one of them: `observations` that decide, or the `error` that kept them away."""

    id: UUID
    observations: tuple[Observation, ...] = ()
    error: PolarSyncError | None = None


def resolve(
    unresolved: Mapping[UUID, Unresolved],
    connection: Connection,
    *,
    knowledge: Knowledge,
    on_tick: Callable[[], None],
) -> Iterator[Resolution]:
    """Ask the lists about these customers; where they cannot be asked or cannot tell, the later request holds."""
    if not connection.has_lists:
        yield from (Resolution(key, (make_final(one.observation),)) for key, one in unresolved.items())
        return
    listed: dict[UUID, Mapping[str, Any]] = {}
    own: dict[UUID, Observation] = {}
    for key, one in unresolved.items():
        try:
            item = one.item if one.item is not None else _ask_customer(key, connection, on_tick)
        except NotFoundError as error:
            yield Resolution(key, _observe_not_found(key, error, one))
            continue
        except PolarSyncError as error:
            yield Resolution(key, error=error)
            if stops_fetching(error):
                return
            continue
        listed[key] = item
        if isinstance(item, PolarObject):
            own[key] = observe_customer(item, interval=item.interval)
    reader = _make_reader(listed, connection, knowledge)
    shown = {
        key: _get_shown(unresolved[key]) for key in listed if unresolved[key].observation.unreliable_fields is None
    }
    for answer in ask_lists(reader, listed=listed, shown=shown, on_tick=on_tick):
        one = unresolved[answer.id]
        is_confirmed = knowledge.is_confirmed
        yield _decide(
            one, answer, connection, own=own.get(answer.id), item=listed[answer.id], is_confirmed=is_confirmed
        )


def ask_anew(
    records: Mapping[UUID, ObservationRecord],
    items: Mapping[UUID, Mapping[str, Any]],
    connection: Connection,
    *,
    knowledge: Knowledge,
    on_tick: Callable[[], None],
) -> Iterator[Resolution]:
    """Ask the lists what these customers have now, whose own fields are in `items`.

    `records` are what was stored of them before. One without observations and error is one of whom lists cannot tell.
    """
    reader = _make_reader(items, connection, knowledge)
    for answer in ask_lists(reader, listed=items, shown={}, on_tick=on_tick):
        if answer.state is None:
            yield Resolution(answer.id, error=answer.error)
            continue
        item = items[answer.id]
        own = observe_customer(item, interval=item.interval) if isinstance(item, PolarObject) else None
        try:
            decisive = _observe_answer(
                answer,
                answer.state,
                own,
                item=item,
                follows=records.get(answer.id),
                is_confirmed=knowledge.is_confirmed,
            )
        except PayloadError as error:
            yield Resolution(answer.id, error=error)
        else:
            yield Resolution(answer.id, decisive)


def _make_reader(customers: Collection[UUID], connection: Connection, knowledge: Knowledge) -> ListReader:
    return ListReader(
        connection.client,
        connection.executor,
        RowEstimates(),  # of customers who changed just now, which says nothing of the others
        knowledge,
        catalogue=connection.catalogue,
        mirrored=get_mirrored(customers),
    )


def _observe_answer(
    answer: StateAnswer,
    state: PolarObject,
    own: Observation | None,
    *,
    item: Mapping[str, Any],
    follows: ObservationRecord | None,
    is_confirmed: bool,
) -> tuple[Observation, ...]:
    """What lists answered, with the customer's `own` fields where they were asked for. Raises `PayloadError`."""
    # Not the listing itself where there was one: it was read before, and is applied as such.
    listed = own or observe_customer(item, interval=state.interval)
    decisive = observe_assembled(
        state,
        listed=listed,
        interval=state.interval,
        outside_state=answer.outside_state,
        unreliable_fields=answer.unreliable_fields or {},
        gone=answer.gone,
        follows=follows,
        is_confirmed=is_confirmed,
    )
    return (own, decisive) if own is not None else (decisive,)


def _ask_customer(key: UUID, connection: Connection, on_tick: Callable[[], None]) -> PolarObject:
    return wait_for(connection.executor.submit(connection.client.customers.get, key), on_tick=on_tick)


def _observe_not_found(key: UUID, error: NotFoundError, one: Unresolved) -> tuple[Observation, ...]:
    interval = error.interval
    return (observe_absence(key, interval=interval, follows=one.stored),) if interval is not None else ()


def _decide(
    one: Unresolved,
    answer: StateAnswer,
    connection: Connection,
    *,
    own: Observation | None,
    item: Mapping[str, Any],
    is_confirmed: bool,
) -> Resolution:
    if isinstance(answer.error, MissingScopeError):
        connection.has_lists = False
    if answer.state is None:
        is_passing = answer.error is not None and not isinstance(answer.error, MissingScopeError)
        if is_passing:
            return Resolution(answer.id, error=answer.error)
        return Resolution(answer.id, (make_final(one.observation),))
    try:
        decisive = _observe_answer(answer, answer.state, own, item=item, follows=one.stored, is_confirmed=is_confirmed)
    except PayloadError:
        return Resolution(answer.id, (make_final(one.observation),))
    return Resolution(answer.id, decisive)


def make_final(observation: Observation) -> Observation:
    """The same observation where there is nobody left to ask: of what may be of one moment, the later request holds."""
    return replace(observation, is_final=True)


def _get_shown(one: Unresolved) -> dict[str, Any]:
    """The state as it was observed, as far as its fields' names go."""
    state = one.observation.state
    if state is None:
        return {}
    shown: dict[str, Any] = load_canonical(state.customer.payload)
    if state.customer.extra:
        shown |= load_canonical(state.customer.extra)
    for kind in get_state_kinds():
        objects = {key: load_canonical(child.payload) for key, child in state.children[kind.name].items()}
        for nested in get_nested_kinds(kind):
            held: defaultdict[UUID, list[Any]] = defaultdict(list)
            for child in state.children[nested.name].values():
                held[child.parent_id].append(load_canonical(child.payload))
            objects = {key: {**each, nested.array: held[key]} for key, each in objects.items()}
        shown[kind.array] = list(objects.values())
    return shown
