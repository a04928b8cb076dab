"""What is found out for a page: its customers' own fields, their states, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage, PolarObject
from polar_sync.exceptions import NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import SyncPage
from polar_sync.states import Knowledge, StateAnswer, StateSource, is_hopeless
from polar_sync.store import Observation, Sighting, observe_absence, observe_assembled, observe_state
from polar_sync.sync.connections import Connection
from polar_sync.sync.resolution import KEPT_CHANGING, Unresolved, resolve

MAX_CLAIMS = 3
"""After so many claims of a page, what still does not answer is a failure rather than a reason to try again."""


@dataclass(slots=True)
class Gathered:
    """What was found out for a page: per customer the observations, or why it failed; and what is still to be asked.

    `denied` are listed customers of whom Polar said that they do not exist, `ends` the ids of the page's oldest and its
    newest customer, none where it has no customers. Without an `answer` to what was listed, the `obstacle` says why.
    `stored` is when the customers of a confirmation page had been read before they were asked for. `unresolved` are
    those of the missing whom the lists are to decide about, and `changed` those of them of whom something was written
    already.
    """

    page: SyncPage
    answer: ListPage | None = None
    items: dict[UUID, Any] = field(default_factory=dict)
    observations: dict[UUID, list[Observation]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    denied: set[UUID] = field(default_factory=set)
    obstacle: PolarSyncError | None = None
    ends: list[str] = field(default_factory=list)
    stored: dict[UUID, Sighting] = field(default_factory=dict)
    unresolved: dict[UUID, Unresolved] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)

    @property
    def is_listed(self) -> bool:
        """Whether it is known who is on the page."""
        return self.answer is not None or self.page.kind == SyncPage.Kind.CONFIRM

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the page is left to be asked."""
        return not self.missing and self.obstacle is None

    def get_arrived(self) -> list[Observation]:
        """The observations of every customer that is accounted for."""
        return [
            observation
            for key, observations in self.observations.items()
            if key not in self.missing and key not in self.denied
            for observation in observations
        ]

    def get_created_at(self, key: UUID) -> datetime | None:
        """When a customer of the page was created, as far as Polar told."""
        for observation in self.observations.get(key, ()):
            if observation.customer is not None:
                return observation.customer.created_at
        return None

    def drop_arrived(self) -> None:
        """Forget what has been committed, so that it is not written again with the rest."""
        self.observations = {key: self.observations[key] for key in self.missing}
        self.unresolved = {key: one for key, one in self.unresolved.items() if key in self.missing}
        self.failures = {}
        self.denied = set()


def find_obstacle(gathered: Iterable[Gathered]) -> PolarSyncError | None:
    """What keeps the pages of a claim from being complete: what stands in the way of all comes first."""
    obstacles = [each.obstacle for each in gathered if each.obstacle is not None]
    return next(filter(is_hopeless, obstacles), obstacles[0] if obstacles else None)


def fetch_states(
    gathered: Sequence[Gathered], source: StateSource, *, on_tick: Callable[[], None], is_final: bool = False
) -> Iterator[None]:
    """Get the missing states, one with each step of the iterator.

    What does not arrive stays missing, with the obstacle that says why. A customer that slipped from one page to the
    next is on both, and its state is for both. `is_final` says that no lists can be asked for a decision.
    """
    holders: dict[UUID, list[Gathered]] = {}
    for each in gathered:
        for key in each.missing:
            holders.setdefault(key, []).append(each)
    customers = {key: holders[key][0].items.get(key) for key in sorted(holders)}
    for answer in source.fetch(customers, on_tick=on_tick):
        for each in holders[answer.id]:
            _take(each, answer, is_final=is_final)
        yield


def note_unresolved(gathered: Gathered, unresolved: Mapping[UUID, Sighting], *, changed: Collection[UUID]) -> None:
    """Of these customers the page is not done: nothing told whether what was observed is later than what is stored."""
    for key, stored in unresolved.items():
        *own, undecided = gathered.observations[key]
        gathered.observations[key] = own
        gathered.unresolved[key] = Unresolved(stored, undecided, gathered.items.get(key))
        gathered.missing.add(key)
    gathered.changed.update(unresolved.keys() & set(changed))


def resolve_missing(
    gathered: Sequence[Gathered], connection: Connection, *, knowledge: Knowledge, on_tick: Callable[[], None]
) -> Iterator[None]:
    """Have the lists decide about the unresolved customers, one with each step of the iterator."""
    holders: dict[UUID, Gathered] = {key: each for each in gathered for key in each.unresolved}
    unresolved = {key: each.unresolved[key] for key, each in holders.items()}
    for found in resolve(unresolved, connection, knowledge=knowledge, on_tick=on_tick):
        each = holders[found.id]
        if found.error is not None:
            _take_error(each, found.id, found.error)
        else:
            each.observations[found.id] += found.observations
            each.missing.discard(found.id)
        yield


def give_up(gathered: Sequence[Gathered]) -> None:
    """Record as failures those whom others changed at each attempt; a page that met trouble is to be tried again."""
    for each in gathered:
        for key in each.unresolved.keys() & each.missing if each.obstacle is None else ():
            each.failures[str(key)] = KEPT_CHANGING
            each.missing.discard(key)


def _take(gathered: Gathered, answer: StateAnswer, *, is_final: bool) -> None:
    if answer.state is not None:
        _take_state(gathered, answer, answer.state, is_final=is_final)
    elif answer.error is not None:
        _take_error(gathered, answer.id, answer.error)


def _take_state(gathered: Gathered, answer: StateAnswer, state: PolarObject, *, is_final: bool) -> None:
    gathered.missing.discard(answer.id)
    try:
        observation = _observe(gathered, answer, state, is_final=is_final)
    except PayloadError as error:
        gathered.failures[str(answer.id)] = error.reason
        return
    if observation.id == answer.id:
        gathered.observations[answer.id].append(observation)
    else:
        gathered.failures[str(answer.id)] = f"Polar answered with the state of another customer, {observation.id}"


def _observe(gathered: Gathered, answer: StateAnswer, state: PolarObject, *, is_final: bool) -> Observation:
    if answer.unsure is None:
        return observe_state(state, interval=state.interval, beside=answer.beside, is_final=is_final)
    listed = gathered.observations[answer.id][-1]
    return observe_assembled(
        state,
        listed=listed,
        interval=state.interval,
        beside=answer.beside,
        unsure=answer.unsure,
        gone=answer.gone,
    )


def _take_error(gathered: Gathered, key: UUID, error: PolarSyncError) -> None:
    if isinstance(error, NotFoundError):
        _take_denial(gathered, key, error)
    else:
        _take_trouble(gathered, key, error)


def _take_denial(gathered: Gathered, key: UUID, error: NotFoundError) -> None:
    """Of a customer whom Polar has just listed it proves nothing: the confirmation asks for the customer itself."""
    if gathered.page.kind == SyncPage.Kind.LIST:
        gathered.denied.add(key)
    elif error.interval is not None:
        gathered.observations[key].append(
            observe_absence(key, interval=error.interval, follows=gathered.stored.get(key))
        )
    gathered.missing.discard(key)


def _take_trouble(gathered: Gathered, key: UUID, error: PolarSyncError) -> None:
    """Note an error that says nothing about whether the customer exists."""
    is_last_claim = gathered.page.claims >= MAX_CLAIMS
    if (error.permanent or is_last_claim) and not is_hopeless(error):
        gathered.failures[str(key)] = describe_failure(error)
        gathered.missing.discard(key)
    elif gathered.obstacle is None or is_hopeless(error):
        gathered.obstacle = error


def describe_failure(error: PolarSyncError) -> str:
    """A failure's reason, as stored and shown."""
    return f"{type(error).__name__}: {error}"
