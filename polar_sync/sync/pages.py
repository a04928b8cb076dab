"""One page of a run: asked for, its states fetched, committed with its counts, or given back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage
from polar_sync.exceptions import NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import CustomerObservation, SyncFailure, SyncPage, SyncRun
from polar_sync.payloads import dump_canonical, read_id
from polar_sync.states import StateAnswer, StateSource, is_hopeless, wait_for
from polar_sync.store import Observation, observe_absence, observe_assembled, observe_customer, observe_state
from polar_sync.sync.binding import check_organization
from polar_sync.sync.connections import Connection
from polar_sync.sync.leases import LeaseKeeper
from polar_sync.sync.windows import get_window

logger = logging.getLogger(__name__)

MAX_CLAIMS = 3
"""After so many claims of a page, what still does not answer is a failure rather than a reason to try again."""


@dataclass(slots=True)
class Gathered:
    """What was found out for a page: per customer the observations, or why it failed; and what is still to be asked.

    `ends` are the ids of its oldest and its newest customer, none where it has no customers.
    """

    answer: ListPage | None = None
    items: dict[UUID, Any] = field(default_factory=dict)
    observations: dict[UUID, list[Observation]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    obstacle: PolarSyncError | None = None
    ends: list[str] = field(default_factory=list)

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


def list_page(run: SyncRun, page: SyncPage, connection: Connection) -> Gathered:
    """Ask Polar for the page, oldest customers first, and read its items; none is lost for another's fault."""
    window = get_window(page.number, pass_number=page.pass_number)
    listing = connection.executor.submit(connection.list_customers, page=window.page, limit=window.limit)
    answer = wait_for(listing, on_tick=LeaseKeeper(page).tick)
    gathered = Gathered(answer=answer)
    for item in answer.items:
        try:
            observation = observe_customer(item, as_of=answer.as_of)
        except PayloadError as error:
            gathered.failures[_name_customer(item)] = error.reason
        else:
            gathered.observations.setdefault(observation.id, []).append(observation)
            gathered.items[observation.id] = item
    gathered.missing = gathered.observations.keys() - _get_accounted(run, gathered.observations)
    gathered.ends = _get_ends(gathered)
    return gathered


def _get_ends(gathered: Gathered) -> list[str]:
    times = {
        observation.customer.created_at: str(key)
        for key, observations in gathered.observations.items()
        for observation in observations
        if observation.customer is not None and observation.customer.created_at is not None
    }
    return [times[min(times)], times[max(times)]] if times else []


def read_confirmation(run: SyncRun, page: SyncPage, connection: Connection) -> Gathered:
    """The customers of a confirmation page that the run has not accounted for yet.

    A run may be continued with another token. To one of another organization all of them are unknown, so it has to show
    first whose it is; raises `OrganizationMismatchError`.
    """
    ids = {UUID(value) for value in page.customer_ids}
    gathered = Gathered()
    gathered.missing = ids - _get_accounted(run, ids)
    gathered.observations = {key: [] for key in gathered.missing}
    if gathered.missing:
        listing = connection.executor.submit(connection.list_customers, page=1, limit=1)
        answer = wait_for(listing, on_tick=LeaseKeeper(page).tick)
        is_allowed = run.is_mass_deletion_allowed
        check_organization(run.organization, answer, connection, is_empty_believed=is_allowed)
    return gathered


def fetch_states(page: SyncPage, gathered: Gathered, source: StateSource) -> Iterator[None]:
    """Get the missing states, one with each step of the iterator.

    What does not arrive stays missing, with the obstacle that says why.
    """
    as_of = gathered.answer.as_of if gathered.answer else None
    keeper = LeaseKeeper(page)
    customers = {key: gathered.items.get(key) for key in sorted(gathered.missing)}
    for answer in source.fetch(customers, on_tick=keeper.tick):
        if answer.state is not None:
            # A list may have told its part of an assembled state at an earlier claim of the page.
            listed_at = as_of if answer.unsure is None else None
            _take_state(gathered, answer, max(filter(None, (answer.state.as_of, listed_at))))
        elif answer.error is not None:
            _take_error(gathered, answer, as_of=as_of, is_last_claim=page.claims >= MAX_CLAIMS)
        yield


def _take_state(gathered: Gathered, answer: StateAnswer, as_of: datetime) -> None:
    gathered.missing.discard(answer.id)
    try:
        observation = _observe(answer, as_of)
    except PayloadError as error:
        gathered.failures[str(answer.id)] = error.reason
        return
    if observation.id == answer.id:
        gathered.observations[answer.id].append(observation)
    else:
        gathered.failures[str(answer.id)] = f"Polar answered with the state of another customer, {observation.id}"


def _observe(answer: StateAnswer, as_of: datetime) -> Observation:
    if answer.unsure is None:
        return observe_state(answer.state, as_of=as_of)
    return observe_assembled(answer.state, as_of=as_of, beside=answer.beside, unsure=answer.unsure)


def _take_error(gathered: Gathered, answer: StateAnswer, *, as_of: datetime | None, is_last_claim: bool) -> None:
    error = answer.error
    if isinstance(error, NotFoundError):
        times = [time for time in (error.as_of, as_of) if time is not None]
        gathered.observations[answer.id].append(observe_absence(answer.id, as_of=max(times)))
        gathered.missing.discard(answer.id)
    elif error is not None and (error.permanent or is_last_claim) and not is_hopeless(error):
        gathered.failures[str(answer.id)] = describe_failure(error)
        gathered.missing.discard(answer.id)
    elif gathered.obstacle is None or is_hopeless(error):
        gathered.obstacle = error


def describe_failure(error: PolarSyncError) -> str:
    """A failure's reason, as stored and shown."""
    return f"{type(error).__name__}: {error}"


def _get_accounted(run: SyncRun, ids: Iterable[UUID]) -> set[UUID]:
    """Customers that this run has dealt with already: before a worker died, on another page, in an earlier pass.

    Times are not asked: they are lower bounds, and one of a state read just before the run can lie after its start.
    """
    wanted = list(ids)
    accounted = CustomerObservation.objects.filter(seen_by_run=run.pk, pk__in=wanted)
    failed = SyncFailure.objects.filter(run=run, customer_id__in=map(str, wanted)).values_list("customer_id", flat=True)
    return set(accounted.values_list("pk", flat=True)) | {UUID(key) for key in failed}


def _name_customer(item: Any) -> str:
    """The id of an item that cannot be mirrored, or something that stays the same from page to page."""
    with suppress(PayloadError):
        return str(read_id(item, what="customer"))
    try:
        text = dump_canonical(item)
    except PayloadError as error:
        text = error.reason
    return f"(no id) {hashlib.sha256(text.encode()).hexdigest()[:12]}"
