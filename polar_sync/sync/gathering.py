"""What is found out for a page: its customers' own fields, their states, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage
from polar_sync.exceptions import NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import SyncPage
from polar_sync.states import StateAnswer, StateSource, is_hopeless
from polar_sync.store import Observation, observe_absence, observe_assembled, observe_state

MAX_CLAIMS = 3
"""After so many claims of a page, what still does not answer is a failure rather than a reason to try again."""


@dataclass(slots=True)
class Gathered:
    """What was found out for a page: per customer the observations, or why it failed; and what is still to be asked.

    `ends` are the ids of its oldest and its newest customer, none where it has no customers. Without an `answer` to
    what was listed, the `obstacle` says why.
    """

    page: SyncPage
    answer: ListPage | None = None
    items: dict[UUID, Any] = field(default_factory=dict)
    observations: dict[UUID, list[Observation]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    obstacle: PolarSyncError | None = None
    ends: list[str] = field(default_factory=list)

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
            if key not in self.missing
            for observation in observations
        ]

    def drop_arrived(self) -> None:
        """Forget what has been committed, so that it is not written again with the rest."""
        self.observations = {key: self.observations[key] for key in self.missing}
        self.failures = {}


def find_obstacle(gathered: Iterable[Gathered]) -> PolarSyncError | None:
    """What keeps the pages of a claim from being complete: what stands in the way of all comes first."""
    obstacles = [each.obstacle for each in gathered if each.obstacle is not None]
    return next(filter(is_hopeless, obstacles), obstacles[0] if obstacles else None)


def fetch_states(gathered: Sequence[Gathered], source: StateSource, *, on_tick: Callable[[], None]) -> Iterator[None]:
    """Get the missing states, one with each step of the iterator.

    What does not arrive stays missing, with the obstacle that says why. A customer that slipped from one page to the
    next is on both, and its state is for both.
    """
    holders: dict[UUID, list[Gathered]] = {}
    for each in gathered:
        for key in each.missing:
            holders.setdefault(key, []).append(each)
    customers = {key: holders[key][0].items.get(key) for key in sorted(holders)}
    for answer in source.fetch(customers, on_tick=on_tick):
        for each in holders[answer.id]:
            _take(each, answer)
        yield


def _take(gathered: Gathered, answer: StateAnswer) -> None:
    listed_at = gathered.answer.as_of if gathered.answer else None
    if answer.state is not None:
        # A list may have told its part of an assembled state at an earlier claim of the page.
        times = (answer.state.as_of, listed_at if answer.unsure is None else None)
        _take_state(gathered, answer, max(filter(None, times)))
    elif answer.error is not None:
        _take_error(gathered, answer.id, answer.error, listed_at=listed_at)


def _take_state(gathered: Gathered, answer: StateAnswer, as_of: datetime) -> None:
    gathered.missing.discard(answer.id)
    try:
        observation = _observe(gathered, answer, as_of)
    except PayloadError as error:
        gathered.failures[str(answer.id)] = error.reason
        return
    if observation.id == answer.id:
        gathered.observations[answer.id].append(observation)
    else:
        gathered.failures[str(answer.id)] = f"Polar answered with the state of another customer, {observation.id}"


def _observe(gathered: Gathered, answer: StateAnswer, as_of: datetime) -> Observation:
    if answer.unsure is None:
        return observe_state(answer.state, as_of=as_of)
    listed = gathered.observations[answer.id][-1]
    return observe_assembled(answer.state, listed=listed, as_of=as_of, beside=answer.beside, unsure=answer.unsure)


def _take_error(gathered: Gathered, key: UUID, error: PolarSyncError, *, listed_at: datetime | None) -> None:
    is_last_claim = gathered.page.claims >= MAX_CLAIMS
    if isinstance(error, NotFoundError):
        times = [time for time in (error.as_of, listed_at) if time is not None]
        gathered.observations[key].append(observe_absence(key, as_of=max(times)))
        gathered.missing.discard(key)
    elif (error.permanent or is_last_claim) and not is_hopeless(error):
        gathered.failures[str(key)] = describe_failure(error)
        gathered.missing.discard(key)
    elif gathered.obstacle is None or is_hopeless(error):
        gathered.obstacle = error


def describe_failure(error: PolarSyncError) -> str:
    """A failure's reason, as stored and shown."""
    return f"{type(error).__name__}: {error}"
