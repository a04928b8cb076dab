"""One page of a run: asked for, its states fetched, committed with its counts, or given back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import CustomerPage
from polar_sync.exceptions import NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import CustomerObservation, SyncPage, SyncRun
from polar_sync.payloads import read_id
from polar_sync.states import StateAnswer, is_hopeless, wait_for
from polar_sync.store import Observation, observe_absence, observe_customer, observe_state
from polar_sync.sync.connections import Connection
from polar_sync.sync.leases import LeaseKeeper

logger = logging.getLogger(__name__)

PAGE_SIZE = 100
MAX_CLAIMS = 3
"""After so many claims of a page, what still does not answer is a failure rather than a reason to try again."""


@dataclass(slots=True)
class Gathered:
    """What was found out for a page: per customer the observations, or why it failed; and what is still to be asked."""

    answer: CustomerPage | None = None
    observations: dict[UUID, list[Observation]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    obstacle: PolarSyncError | None = None

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


def list_page(run: SyncRun, page: SyncPage, connection: Connection) -> Gathered:
    """Ask Polar for the page, oldest customers first, and read its items; none is lost for another's fault."""
    filters: dict[str, Any] = {}
    if connection.organization_id:
        filters["organization_id"] = connection.organization_id
    answer = wait_for(
        connection.executor.submit(
            connection.client.customers.list,
            page=page.number,
            limit=PAGE_SIZE,
            sorting=["created_at"],
            **filters,
        ),
        on_tick=LeaseKeeper(page).tick,
    )
    gathered = Gathered(answer=answer)
    for item in answer.items:
        try:
            observation = observe_customer(item, as_of=answer.as_of)
        except PayloadError as error:
            gathered.failures[_name_customer(item)] = error.reason
        else:
            gathered.observations.setdefault(observation.id, []).append(observation)
    gathered.missing = gathered.observations.keys() - _get_accounted(run, gathered.observations)
    return gathered


def read_confirmation(run: SyncRun, page: SyncPage) -> Gathered:
    """The customers of a confirmation page that the run has not accounted for yet."""
    ids = {UUID(value) for value in page.customer_ids}
    gathered = Gathered()
    gathered.missing = ids - _get_accounted(run, ids)
    gathered.observations = {key: [] for key in gathered.missing}
    return gathered


def fetch_states(page: SyncPage, gathered: Gathered, connection: Connection) -> None:
    """Get the missing states; what does not arrive stays missing, with the obstacle that says why."""
    as_of = gathered.answer.as_of if gathered.answer else None

    keeper = LeaseKeeper(page)
    for answer in connection.source.fetch(sorted(gathered.missing), on_tick=keeper.tick):
        if answer.state is not None:
            _take_state(gathered, answer.id, answer.state, max(filter(None, (answer.state.as_of, as_of))))
        elif answer.error is not None:
            _take_error(gathered, answer, as_of=as_of, is_last_claim=page.claims >= MAX_CLAIMS)


def _take_state(gathered: Gathered, customer_id: UUID, state: Any, as_of: datetime) -> None:
    gathered.missing.discard(customer_id)
    try:
        observation = observe_state(state, as_of=as_of)
    except PayloadError as error:
        gathered.failures[str(customer_id)] = error.reason
        return
    if observation.id == customer_id:
        gathered.observations[customer_id].append(observation)
    else:
        gathered.failures[str(customer_id)] = f"Polar answered with the state of another customer, {observation.id}"


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
    accounted = CustomerObservation.objects.filter(seen_by_run=run.pk, pk__in=list(ids))
    return set(accounted.values_list("pk", flat=True))


def _name_customer(item: Any) -> str:
    """The id of an item that cannot be mirrored, or something that stays the same from page to page."""
    with suppress(PayloadError):
        return str(read_id(item, what="customer"))
    return f"(no id) {hashlib.sha256(repr(item).encode('utf-8', 'replace')).hexdigest()[:12]}"
