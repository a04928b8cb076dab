"""One step of a run: claim some pages, do them, move the run on. The same step serves the command and Celery."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
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
from polar_sync.sync.completeness import get_beginning
from polar_sync.sync.connections import Connection, bind_organization
from polar_sync.sync.fetching import fetch_and_commit
from polar_sync.sync.leases import LeaseKeeper, LeaseLostError, claim_pages, count_live_leases
from polar_sync.sync.page_results import MAX_CLAIMS, PageResult, describe_failure, find_stopping_error
from polar_sync.sync.pages import find_missing, list_pages, read_confirmation
from polar_sync.sync.runs import advance_run, drop_lost_connection, finish_run, let_go, note_usage, note_wait
from polar_sync.sync.sources import is_batched

logger = logging.getLogger(__name__)

_MAX_CRASHES = 10
"""Claims of one page after which its run fails: whoever takes it dies of it."""
RETRY_SECONDS = 5.0
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
_IDLE_SECONDS = 1.0


class Progress(Enum):
    """What a step came to: its pages are done, the run waits, nothing is open for us, or the run has ended."""

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
    """Do the next pages of a run, or move the run on where none is open. Joins no transaction: it asks Polar.

    With `max_workers`, a step beyond that many claims under way is not taken, and each of them is left its share.
    """
    if max_workers is not None and count_live_leases(run_id) >= max_workers:
        return Step(Progress.IDLE)
    at_most = connection.max_pages if is_batched(SyncRun.objects.get(pk=run_id)) else 1
    pages = claim_pages(run_id, at_most=at_most, workers=max_workers or 1)
    if not pages:
        return _move_on(run_id)
    # As it is now that the pages are ours: others may have moved the run on meanwhile, even to its next pass.
    run = SyncRun.objects.select_related("organization").get(pk=run_id)
    if pages[0].claims > _MAX_CRASHES:
        detail = f"Page {pages[0].number} was claimed {pages[0].claims} times and never finished."
        finish_run(run_id, SyncRun.Status.FAILED, reason="page_failed", detail=detail)
        return Step(Progress.ENDED)
    keeper = LeaseKeeper(pages)
    connection.keep_for(run_id)
    try:
        return _work(run, pages, connection, keeper)
    except LeaseLostError:
        logger.warning("A page of run %s was lost to another worker or the run's end", run_id)
        keeper.release(is_counted=False)
        return _move_on(run_id)
    except BaseException:
        drop_lost_connection()
        with suppress(DatabaseError):  # what interrupted the work is what the caller is to hear of
            keeper.release(is_counted=True)
            note_usage(run_id, connection.take_usage())
        raise
    finally:
        note_usage(run_id, connection.take_usage())


def _move_on(run_id: int) -> Step:
    opened = advance_run(run_id)
    if opened:
        return Step(Progress.DONE, opened=opened)
    is_running = SyncRun.objects.filter(pk=run_id, status=SyncRun.Status.RUNNING).exists()
    return Step(Progress.IDLE if is_running else Progress.ENDED)


def _work(run: SyncRun, pages: Sequence[SyncPage], connection: Connection, keeper: LeaseKeeper) -> Step:
    try:
        page_results = _ask(run, pages, connection, keeper)
    except PolarSyncError as error:
        return _stop(run, keeper, error, claims=pages[0].claims)
    opened = fetch_and_commit(run, page_results, connection, keeper)
    stopping_error = find_stopping_error(page_results)
    if stopping_error is not None:
        _keep_listings(page_results, connection)
        return _stop(run, keeper, stopping_error, claims=pages[0].claims)
    keeper.release(is_counted=True)  # what a source left unanswered without saying why
    return Step(Progress.DONE, opened=opened + advance_run(run.pk))


def _ask(run: SyncRun, pages: Sequence[SyncPage], connection: Connection, keeper: LeaseKeeper) -> list[PageResult]:
    if pages[0].kind == SyncPage.Kind.CONFIRM:
        return [read_confirmation(run, page, connection, on_tick=keeper.tick) for page in pages]
    page_results = list_pages(pages, connection, on_tick=keeper.tick)
    for each in page_results:
        if each.answer is not None:
            bind_organization(run.organization, each.answer.items, expected=connection.organization_id)
            _note_first_answer(run, each.answer)
    find_missing(run, page_results)
    return page_results


def _keep_listings(page_results: Sequence[PageResult], connection: Connection) -> None:
    """With a request or two a minute, a claim that had to list its pages again would never get to their states."""
    for each in page_results:
        if each.answer is not None and not each.is_complete:
            connection.partial_results.put_listing(each.page.pk, each.answer)


def _note_first_answer(run: SyncRun, answer: ListPage) -> None:
    """Only one page is open until a pass has its first answer: whom another was quicker than has lost that page."""
    if run.pass_began_at is not None:
        return
    began_at = get_beginning(answer)
    fields = {"pass_began_at": began_at, "pass_total": answer.total_count}
    if run.began_at is None:
        fields |= {"began_at": began_at, "first_total": answer.total_count}
    unnoted = SyncRun.objects.filter(
        pk=run.pk, status=SyncRun.Status.RUNNING, pass_number=run.pass_number, pass_began_at=None
    )
    if not unnoted.update(**fields):
        raise LeaseLostError
    for name, value in fields.items():
        setattr(run, name, value)


def _stop(run: SyncRun, keeper: LeaseKeeper, error: PolarSyncError, *, claims: int) -> Step:
    """End the run, or leave what is left of the pages to whoever comes next.

    A person must act on a permanent error, and one that passes has been tried often enough at the last claim; a wait
    for the budget is not the pages' fault. Raises `LeaseLostError` where none of them is ours any more: others have
    done them meanwhile, or will, and the run is theirs to end.
    """
    keeper.renew()
    is_waiting = isinstance(error, BudgetWaitError | RateLimitError)
    if error.permanent or (claims >= MAX_CLAIMS and not is_waiting):
        finish_run(run.pk, SyncRun.Status.FAILED, reason=get_reason(error), detail=describe_failure(error))
        return Step(Progress.ENDED)
    wait = error.retry_in if isinstance(error, BudgetWaitError | RateLimitError) else RETRY_SECONDS * claims
    note_wait(run.pk, wait)
    keeper.release(is_counted=not is_waiting)
    logger.info("What is left of a claim of run %s is tried again in %.0f s: %s", run.pk, wait, error)
    return Step(Progress.WAITING, wait=wait)


def get_reason(error: PolarSyncError) -> str:
    """What a run that this error ends has as its reason."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "error")


def work_in_foreground(
    run: SyncRun, connection: Connection, *, on_progress: Callable[[SyncRun], None] | None = None
) -> SyncRun:
    """Take steps until the run has ended; returns it as it ended.

    Interrupted by whatever exception, the run is let go of, so that the next command continues it at once.
    """
    try:
        while True:
            step = take_step(run.pk, connection)
            run.refresh_from_db(from_queryset=SyncRun.objects.select_related("organization"))
            if on_progress is not None:
                on_progress(run)
            if step.progress is Progress.ENDED or not run.is_running:
                return run
            if step.progress is Progress.WAITING:
                time.sleep(step.wait)
            elif step.progress is Progress.IDLE:  # Celery workers hold what is left
                time.sleep(_IDLE_SECONDS)
    except BaseException:
        drop_lost_connection()
        with suppress(DatabaseError):  # what interrupted the work is what the caller is to hear of
            let_go(run.pk)
        raise
