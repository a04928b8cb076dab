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
from polar_sync.states import Knowledge, StateAnswer, StateSource, stops_fetching
from polar_sync.store import Observation, ObservationRecord, observe_absence, observe_assembled, observe_state
from polar_sync.sync.connections import Connection
from polar_sync.sync.resolution import KEPT_CHANGING, Unresolved, resolve

MAX_CLAIMS = 3
"""After so many claims of a page, what still does not answer is a failure rather than a reason to try again."""


@dataclass(slots=True)
class PageResult:
    """What was found out for a page: per customer the observations, or why it failed; and what is still to be asked.

    `denied` are listed customers of whom Polar said that they do not exist, `ends` the ids of the page's oldest and its
    newest customer, none where it has no customers. Without an `answer` to what was listed, the `stopping_error` says
    why. `stored` is when the customers of a confirmation page had been read before they were asked for. `unresolved`
    are those of the missing whom the lists are to decide about, and `changed` those of them of whom something was
    written already.
    """

    page: SyncPage
    answer: ListPage | None = None
    items: dict[UUID, Any] = field(default_factory=dict)
    observations: dict[UUID, list[Observation]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    denied: set[UUID] = field(default_factory=set)
    stopping_error: PolarSyncError | None = None
    ends: list[str] = field(default_factory=list)
    stored: dict[UUID, ObservationRecord] = field(default_factory=dict)
    unresolved: dict[UUID, Unresolved] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)

    @property
    def is_listed(self) -> bool:
        """Whether it is known who is on the page."""
        return self.answer is not None or self.page.kind == SyncPage.Kind.CONFIRM

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the page is left to be asked."""
        return not self.missing and self.stopping_error is None

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


def find_stopping_error(page_results: Iterable[PageResult]) -> PolarSyncError | None:
    """What keeps the pages of a claim from being complete: what stands in the way of all comes first."""
    stopping_errors = [each.stopping_error for each in page_results if each.stopping_error is not None]
    return next(filter(stops_fetching, stopping_errors), stopping_errors[0] if stopping_errors else None)


def fetch_states(
    page_results: Sequence[PageResult], source: StateSource, *, on_tick: Callable[[], None], is_final: bool = False
) -> Iterator[None]:
    """Get the missing states, one with each step of the iterator.

    What does not arrive stays missing, with the error that says why. A customer that slipped from one page to the
    next is on both, and its state is for both. `is_final` says that no lists can be asked for a decision.
    """
    holders: dict[UUID, list[PageResult]] = {}
    for each in page_results:
        for key in each.missing:
            holders.setdefault(key, []).append(each)
    customers = {key: holders[key][0].items.get(key) for key in sorted(holders)}
    for answer in source.fetch(customers, on_tick=on_tick):
        for each in holders[answer.id]:
            _take(each, answer, is_final=is_final)
        yield


def note_unresolved(
    page_result: PageResult, unresolved: Mapping[UUID, ObservationRecord], *, changed: Collection[UUID]
) -> None:
    """Of these customers the page is not done: nothing told whether what was observed is later than what is stored."""
    for key, stored in unresolved.items():
        *own, undecided = page_result.observations[key]
        page_result.observations[key] = own
        page_result.unresolved[key] = Unresolved(stored, undecided, page_result.items.get(key))
        page_result.missing.add(key)
    page_result.changed.update(unresolved.keys() & set(changed))


def resolve_missing(
    page_results: Sequence[PageResult], connection: Connection, *, knowledge: Knowledge, on_tick: Callable[[], None]
) -> Iterator[None]:
    """Have the lists decide about the unresolved customers, one with each step of the iterator."""
    holders: dict[UUID, PageResult] = {key: each for each in page_results for key in each.unresolved}
    unresolved = {key: each.unresolved[key] for key, each in holders.items()}
    for found in resolve(unresolved, connection, knowledge=knowledge, on_tick=on_tick):
        each = holders[found.id]
        if found.error is not None:
            _take_error(each, found.id, found.error)
        else:
            each.observations[found.id] += found.observations
            each.missing.discard(found.id)
        yield


def give_up(page_results: Sequence[PageResult]) -> None:
    """Record as failures those whom others changed at each attempt; a page that met trouble is to be tried again."""
    for each in page_results:
        for key in each.unresolved.keys() & each.missing if each.stopping_error is None else ():
            each.failures[str(key)] = KEPT_CHANGING
            each.missing.discard(key)


def _take(page_result: PageResult, answer: StateAnswer, *, is_final: bool) -> None:
    if answer.state is not None:
        _take_state(page_result, answer, answer.state, is_final=is_final)
    elif answer.error is not None:
        _take_error(page_result, answer.id, answer.error)


def _take_state(page_result: PageResult, answer: StateAnswer, state: PolarObject, *, is_final: bool) -> None:
    page_result.missing.discard(answer.id)
    try:
        observation = _observe(page_result, answer, state, is_final=is_final)
    except PayloadError as error:
        page_result.failures[str(answer.id)] = error.reason
        return
    if observation.id == answer.id:
        page_result.observations[answer.id].append(observation)
    else:
        page_result.failures[str(answer.id)] = f"Polar answered with the state of another customer, {observation.id}"


def _observe(page_result: PageResult, answer: StateAnswer, state: PolarObject, *, is_final: bool) -> Observation:
    if answer.unreliable_fields is None:
        return observe_state(state, interval=state.interval, outside_state=answer.outside_state, is_final=is_final)
    listed = page_result.observations[answer.id][-1]
    return observe_assembled(
        state,
        listed=listed,
        interval=state.interval,
        outside_state=answer.outside_state,
        unreliable_fields=answer.unreliable_fields,
        gone=answer.gone,
    )


def _take_error(page_result: PageResult, key: UUID, error: PolarSyncError) -> None:
    if isinstance(error, NotFoundError):
        _take_denial(page_result, key, error)
    else:
        _take_trouble(page_result, key, error)


def _take_denial(page_result: PageResult, key: UUID, error: NotFoundError) -> None:
    """Of a customer whom Polar has just listed it proves nothing: the confirmation asks for the customer itself."""
    if page_result.page.kind == SyncPage.Kind.LIST:
        page_result.denied.add(key)
    elif error.interval is not None:
        page_result.observations[key].append(
            observe_absence(key, interval=error.interval, follows=page_result.stored.get(key))
        )
    page_result.missing.discard(key)


def _take_trouble(page_result: PageResult, key: UUID, error: PolarSyncError) -> None:
    """Note an error that says nothing about whether the customer exists."""
    is_last_claim = page_result.page.claims >= MAX_CLAIMS
    if (error.permanent or is_last_claim) and not stops_fetching(error):
        page_result.failures[str(key)] = describe_failure(error)
        page_result.missing.discard(key)
    elif page_result.stopping_error is None or stops_fetching(error):
        page_result.stopping_error = error


def describe_failure(error: PolarSyncError) -> str:
    """A failure's reason, as stored and shown."""
    return f"{type(error).__name__}: {error}"
