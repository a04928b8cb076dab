"""One step of a run: claim a page, do it, move the run on. The same step serves the command and Celery."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from django.db import DatabaseError

from polar_sync.client import ListPage
from polar_sync.exceptions import (
    AuthenticationError,
    BudgetStorageError,
    BudgetWaitError,
    ConfigurationError,
    MissingScopeError,
    NotFoundError,
    OrganizationMismatchError,
    PolarError,
    PolarSyncError,
    RateLimitError,
    RouteNotFoundError,
)
from polar_sync.models import SyncPage, SyncRun
from polar_sync.sync.binding import bind_organization
from polar_sync.sync.catalogue import read_catalogue
from polar_sync.sync.commits import commit_page
from polar_sync.sync.connections import Connection
from polar_sync.sync.leases import LeaseKeeper, LeaseLostError, claim_page, count_live_leases, release_page
from polar_sync.sync.pages import MAX_CLAIMS, Gathered, describe_failure, fetch_states, list_page, read_confirmation
from polar_sync.sync.phases import advance_run
from polar_sync.sync.runs import finish_run, note_usage, note_wait
from polar_sync.sync.sources import PER_CUSTOMER, must_fall_back, note_fields, open_source

logger = logging.getLogger(__name__)

_MAX_CRASHES = 10
"""Claims of one page after which its run fails: whoever takes it dies of it."""
_RETRY_SECONDS = 5.0
_SAVE_SECONDS = 10.0


class Progress(Enum):
    """What a step came to: the page is done, the run waits, nothing is open for us, or the run has ended."""

    DONE = "done"
    WAITING = "waiting"
    IDLE = "idle"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Step:
    """`wait` is in seconds, for `WAITING`; `opened` counts pages that are now there to be claimed by others too."""

    progress: Progress
    wait: float = 0.0
    opened: int = 0


def take_step(run_id: int, connection: Connection, *, max_workers: int | None = None) -> Step:
    """Do the next page of a run, or move the run on where none is open. Joins no transaction: it asks Polar.

    With `max_workers`, a step beyond that many pages under way is not taken.
    """
    if max_workers is not None and count_live_leases(run_id) >= max_workers:
        return Step(Progress.IDLE)
    page = claim_page(run_id)
    if page is None:
        return _move_on(run_id)
    run = SyncRun.objects.select_related("organization").get(pk=run_id)
    if page.claims > _MAX_CRASHES:
        detail = f"Page {page.number} was claimed {page.claims} times and never finished."
        finish_run(run_id, SyncRun.Status.FAILED, reason="page_failed", detail=detail)
        return Step(Progress.ENDED)
    try:
        return _work(run, page, connection)
    except LeaseLostError:
        logger.warning("Page %s of run %s was lost to another worker or the run's end", page, run_id)
        return _move_on(run_id)
    except BaseException:
        release_page(page, is_counted=True)
        raise
    finally:
        note_usage(run_id, connection.take_usage())


def _move_on(run_id: int) -> Step:
    opened = advance_run(run_id)
    if opened:
        return Step(Progress.DONE, opened=opened)
    is_running = SyncRun.objects.filter(pk=run_id, status=SyncRun.Status.RUNNING).exists()
    return Step(Progress.IDLE if is_running else Progress.ENDED)


def _work(run: SyncRun, page: SyncPage, connection: Connection) -> Step:
    try:
        gathered = _ask(run, page, connection)
    except PolarSyncError as error:
        return _stop(run, page, error)
    opened = _fetch(run, page, gathered, connection)
    if gathered.obstacle is not None:
        return _stop(run, page, gathered.obstacle)
    return Step(Progress.DONE, opened=opened + advance_run(run.pk))


def _ask(run: SyncRun, page: SyncPage, connection: Connection) -> Gathered:
    if page.kind == SyncPage.Kind.CONFIRM:
        return read_confirmation(run, page, connection)
    gathered = list_page(run, page, connection)
    if gathered.answer is not None:
        bind_organization(run.organization, gathered.answer.items, expected=connection.organization_id)
        _note_first_answer(run, gathered.answer)
    return gathered


def _fetch(run: SyncRun, page: SyncPage, gathered: Gathered, connection: Connection) -> int:
    """Get the page's states and commit them, now and then what there is so far; returns how many pages that opened.

    At ten requests a minute a page takes ten minutes; neither Ctrl-C nor a killed process loses all of it.
    """
    opened, saved_at = 0, time.monotonic()
    try:
        for _ in _fetch_states(run, page, gathered, connection):
            if gathered.missing and time.monotonic() - saved_at >= _SAVE_SECONDS:
                opened += _commit(run, page, gathered, connection)
                saved_at = time.monotonic()
    except LeaseLostError:
        raise
    except BaseException:
        with suppress(LeaseLostError, DatabaseError):  # what interrupted the work is what the caller is to hear of
            _commit(run, page, gathered, connection)
        raise
    return opened + _commit(run, page, gathered, connection)


def _fetch_states(run: SyncRun, page: SyncPage, gathered: Gathered, connection: Connection) -> Iterator[None]:
    """From the source that the run has; from the next one where that turns out to be closed to the token."""
    source = open_source(run, connection)
    if page.claims >= MAX_CLAIMS:  # what one customer breaks in a list must not become the failure of a hundred
        source = connection.per_customer
    if run.source == PER_CUSTOMER and page.number == page.pass_number == 1 and page.kind == SyncPage.Kind.LIST:
        read_catalogue(connection, on_tick=LeaseKeeper(page).tick)
    yield from fetch_states(page, gathered, source)
    if must_fall_back(run, gathered.obstacle):
        gathered.obstacle = None
        yield from fetch_states(page, gathered, open_source(run, connection))
    note_fields(run, source)


def _commit(run: SyncRun, page: SyncPage, gathered: Gathered, connection: Connection) -> int:
    opened = commit_page(run, page, gathered, catalogue=connection.catalogue.take())
    gathered.drop_arrived()
    return opened


def _note_first_answer(run: SyncRun, answer: ListPage) -> None:
    if run.pass_began_at is not None:
        return
    run.pass_began_at, run.pass_total = answer.as_of, answer.total_count
    if run.began_at is None:
        run.began_at, run.first_total = answer.as_of, answer.total_count
    run.save(update_fields=["began_at", "first_total", "pass_began_at", "pass_total"])


def _stop(run: SyncRun, page: SyncPage, error: PolarSyncError) -> Step:
    """End the run, or leave the page to whoever comes next.

    A person must act on a permanent error, and one that passes has been tried often enough at the last claim; a wait
    for the budget is not the page's fault.
    """
    is_waiting = isinstance(error, BudgetWaitError | RateLimitError)
    if error.permanent or (page.claims >= MAX_CLAIMS and not is_waiting):
        finish_run(run.pk, SyncRun.Status.FAILED, reason=_get_reason(error), detail=describe_failure(error))
        return Step(Progress.ENDED)
    wait = error.retry_in if isinstance(error, BudgetWaitError | RateLimitError) else _RETRY_SECONDS * page.claims
    note_wait(run.pk, wait)
    release_page(page, is_counted=not is_waiting)
    logger.info("Page %s of run %s is tried again in %.0f s: %s", page, run.pk, wait, error)
    return Step(Progress.WAITING, wait=wait)


_REASONS: tuple[tuple[type[PolarSyncError], str], ...] = (
    (OrganizationMismatchError, "organization_mismatch"),
    (ConfigurationError, "configuration"),
    (AuthenticationError, "authentication"),
    (MissingScopeError, "missing_scope"),
    (RouteNotFoundError, "route_not_found"),
    (NotFoundError, "route_not_found"),
    (BudgetStorageError, "budget_storage"),
    (PolarError, "polar_error"),
)


def _get_reason(error: PolarSyncError) -> str:
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "error")
