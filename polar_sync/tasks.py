"""Celery's part: it carries the work, the database knows what is done. No result backend is needed.

A killed worker's messages are not waited for: `resume_runs`, to be scheduled every minute, sees from the leases what
nobody works on any more.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from celery import current_app, shared_task
from django.db import router, transaction
from django.utils import timezone

from polar_sync import sync
from polar_sync.conf import settings
from polar_sync.exceptions import (
    BudgetError,
    BudgetWaitError,
    ConfigurationError,
    PolarSyncError,
    RateLimitError,
    RunActiveError,
)
from polar_sync.models import SyncRun
from polar_sync.sync import verification
from polar_sync.sync.leases import count_idle_workers, count_live_leases, touch_run
from polar_sync.sync.runs import close_if_outdated, drop_lost_connection, finish_run, get_failed_ids

T = TypeVar("T")

logger = logging.getLogger(__name__)

_JITTER_SECONDS = 5.0
_MAX_REFRESH_RETRIES = 8
_LONGEST_COUNTDOWN = 14 * 60.0
"""With jitter below a quarter of an hour; Redis hands out once more what waits for an hour, its visibility timeout.
Who comes too early looks again."""


@shared_task(name="polar_sync.sync_organization", ignore_result=True)
def sync_organization(organization: str, *, is_mass_deletion_allowed: bool = False) -> None:
    """Start a run over an organization of the settings, or continue an abandoned one, on `WORKERS` workers.

    While a run is active this does nothing but log that.
    """
    try:
        run = sync.begin_run(settings.get_organization(organization), is_mass_deletion_allowed=is_mass_deletion_allowed)
    except RunActiveError as error:
        logger.info("%s", error)
        return
    _queue_pages(run.pk, settings.workers)


@shared_task(name="polar_sync.sync_pages", ignore_result=True)
def sync_pages(run: int) -> None:
    """Do the next pages of a run, then queue itself again; ends where the run has, or where others do what is left."""
    row = SyncRun.objects.select_related("organization").filter(pk=run).first()
    if row is None or not row.is_running:
        return
    try:
        connection = sync.get_worker_connection(settings.get_organization(row.organization.name))
    except ConfigurationError as error:
        finish_run(run, SyncRun.Status.FAILED, reason="configuration", detail=str(error))
        return
    step = sync.take_step(run, connection, max_workers=settings.workers)
    if step.progress is sync.Progress.WAITING:
        _queue(sync_pages, run, countdown=_get_countdown(step.wait))
    elif step.progress is sync.Progress.DONE:
        _queue_pages(run, 1)
        if step.opened > 1:
            _queue_pages(run, min(settings.workers, step.opened) - count_live_leases(run) - 1)


@shared_task(name="polar_sync.refresh_customer", bind=True, ignore_result=True, max_retries=_MAX_REFRESH_RETRIES)
def refresh_customer(self: Any, organization: str, id: str) -> None:  # noqa: A002 - Polar's word
    """Mirror one customer's present state; tries again, later and later, where Polar does not answer for now."""
    connection = sync.get_worker_connection(settings.get_organization(organization))
    try:
        sync.refresh_customer(settings.get_organization(organization), UUID(id), connection)
    except BudgetWaitError as error:
        # Nothing was asked, so that this is no try that failed.
        self.apply_async((organization, id), countdown=_get_countdown(error.retry_in), retries=self.request.retries)
    except PolarSyncError as error:
        if error.permanent:
            raise
        wait = getattr(error, "retry_in", 2.0**self.request.retries)
        raise self.retry(exc=error, countdown=_get_countdown(wait)) from None


@shared_task(name="polar_sync.verify_organization", bind=True, ignore_result=True, max_retries=_MAX_REFRESH_RETRIES)
def verify_organization(
    self: Any,
    organization: str,
    sample: int = 100,
    is_repairing: bool = False,
    rest: list[str] | None = None,
    tally: dict[str, Any] | None = None,
) -> None:
    """Compare customers with Polar, those first whose state was confirmed least recently; the admin shows the result.

    Where the request budget is used up, the `rest` of them are left to another message, with the `tally` so far.
    """
    entry = settings.get_organization(organization)
    row = verification.get_organization(entry)
    pending = verification.choose_customers(row, sample=sample) if rest is None else [UUID(each) for each in rest]
    counted = verification.Tally.load(tally or {})
    before, started_at = counted.checked, timezone.now()
    done: set[UUID] = set()
    try:
        connection = sync.get_worker_connection(entry)
        for finding in verification.verify_customers(entry, pending, connection, is_repairing=is_repairing):
            counted.add(finding)
            done.add(finding.id)
    except PolarSyncError as error:
        if error.permanent:
            raise
        left = [str(each) for each in pending if each not in done]
        wait = _get_countdown(getattr(error, "retry_in", 2.0**self.request.retries))
        arguments = (organization, sample, is_repairing, left, counted.dump())
        if counted.checked == before and not isinstance(error, BudgetWaitError):
            raise self.retry(exc=error, args=arguments, kwargs={}, countdown=wait) from None
        _queue(verify_organization, *arguments, countdown=wait)
        return
    kept = counted.save(row, started_at=started_at)
    if not kept.is_equal:
        logger.warning("%s from Polar; see the admin or run manage.py polar_sync_verify", kept)


@shared_task(name="polar_sync.process_deliveries", ignore_result=True)
def process_deliveries(organization: str) -> None:
    """Process the webhook deliveries that are kept, and ask Polar about those whom they leave open and who are due."""
    entry = settings.get_organization(organization)
    row = sync.get_organization_row(entry)
    sync.process_all(entry, row)
    try:
        sync.ask_all_due(entry, row, sync.get_worker_connection(entry))
    except PolarSyncError as error:
        logger.warning("Whom webhooks leave open is asked about later, by polar_sync.follow: %s", error)


def enqueue_processing(organization: str) -> None:
    """Have what is kept processed: by Celery, or here and now where it has no broker. Never raises, as it is kept."""
    try:
        if has_workers() or current_app.conf.task_always_eager:
            process_deliveries.apply_async((organization,), retry=False)
        else:
            entry = settings.get_organization(organization)
            # One batch: whoever waits for the answer does not wait for a backlog.
            sync.process_deliveries(entry, sync.get_organization_row(entry))
    except Exception:
        logger.exception("Deliveries for %s are kept; polar_sync.follow processes them", organization)


def has_workers() -> bool:
    """Whether Celery hands tasks to other processes."""
    broker = current_app.conf.broker_url
    return bool(broker) and not str(broker).startswith("memory:") and not current_app.conf.task_always_eager


@shared_task(name="polar_sync.follow", ignore_result=True)
def follow(organization: str | None = None, *, is_whole: bool = False) -> None:
    """Read Polar's list of deliveries for what did not arrive here, and process it. Every minute.

    What failed since the last time; all of it once a day, after a gap, and with `is_whole`. Without an organization,
    every one of the settings that has webhooks is followed, each by a message of its own.
    """
    if organization is None:
        followed = [name for name, entry in settings.organizations.items() if sync.has_webhooks(entry)]
        _do_each(partial(_queue, follow, is_whole=is_whole), followed)
        return
    entry = settings.get_organization(organization)
    try:
        sync.follow(entry, sync.get_worker_connection(entry), is_whole=is_whole)
    except (BudgetError, RateLimitError) as error:
        logger.info("The list of deliveries is read on in a minute: %s", error)
    if run := sync.begin_needed_run(entry, sync.get_organization_row(entry)):
        _queue_pages(run.pk, settings.workers)


@shared_task(name="polar_sync.resume_runs", ignore_result=True)
def resume_runs() -> None:
    """Put workers back on running runs that have lost some, and close abandoned ones that are too old. Every minute.

    What goes wrong with one run is raised once the others have been seen to.
    """
    _do_each(_resume, list(SyncRun.objects.filter(status=SyncRun.Status.RUNNING)))


def _resume(run: SyncRun) -> None:
    if close_if_outdated(run):
        return
    idle = count_idle_workers(run, workers=settings.workers)
    if idle:
        logger.warning("Run %s lacks %s of its %s workers; it is continued", run.pk, idle, settings.workers)
        touch_run(run.pk)
        _queue_pages(run.pk, idle)


@shared_task(name="polar_sync.refresh_customers", ignore_result=True)
def refresh_customers(organization: str, ids: list[str]) -> None:
    """Queue a refresh of each of these customers; one that cannot be queued costs none of the others."""
    _do_each(partial(_queue, refresh_customer, organization), ids)


@shared_task(name="polar_sync.retry_failures", ignore_result=True)
def retry_failures(run: int) -> None:
    """Queue a refresh of each customer that a run could not mirror."""
    row = SyncRun.objects.select_related("organization").get(pk=run)
    refresh_customers(row.organization.name, [str(customer_id) for customer_id in get_failed_ids(run)])


def _do_each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do all of it, and raise at the end what went wrong on the way. A lost database connection is made anew."""
    errors: list[Exception] = []
    for item in items:
        try:
            work(item)
        except Exception as error:
            logger.exception("%s failed; the others go on", item)
            errors.append(error)
            drop_lost_connection()
    if errors:
        raise ExceptionGroup(f"{len(errors)} could not be done", errors)


def _queue_pages(run: int, workers: int) -> None:
    for _ in range(workers):
        _queue(sync_pages, run)


def _queue(task: Any, *arguments: Any, countdown: float | None = None, **options: Any) -> None:
    """Send after commit: a worker must never be quicker than the rows that it is told of."""
    send = partial(task.apply_async, arguments, kwargs=options, countdown=countdown)
    transaction.on_commit(send, using=router.db_for_write(SyncRun))


def _get_countdown(seconds: float) -> float:
    """The countdown for a wait, with jitter: workers that wait for the same moment do not all come in it."""
    return min(seconds, _LONGEST_COUNTDOWN) + random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - no secret
