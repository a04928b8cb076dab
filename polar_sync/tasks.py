"""Celery's part: it carries the work, the database knows what is done. No result backend is needed.

A killed worker's messages are not waited for: `resume_runs`, to be scheduled every minute, sees from the leases what
nobody works on any more.
"""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import Any
from uuid import UUID

from celery import shared_task
from django.db import router, transaction

from polar_sync import sync
from polar_sync.conf import settings
from polar_sync.exceptions import BudgetError, ConfigurationError, PolarError, RunActiveError
from polar_sync.models import SyncRun
from polar_sync.sync.leases import count_idle_workers, count_live_leases, touch_run
from polar_sync.sync.runs import close_outdated_runs, finish_run
from polar_sync.sync.steering import get_failed_ids

logger = logging.getLogger(__name__)

_JITTER_SECONDS = 5.0
_MAX_REFRESH_RETRIES = 8


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
        _queue(sync_pages, run, countdown=_add_jitter(step.wait))
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
    except (PolarError, BudgetError) as error:
        if error.permanent:
            raise
        wait = getattr(error, "retry_in", 2.0**self.request.retries)
        raise self.retry(exc=error, countdown=_add_jitter(wait)) from None


@shared_task(name="polar_sync.resume_runs", ignore_result=True)
def resume_runs() -> None:
    """Put workers back on running runs that have lost some, and close abandoned ones that are too old. Every minute."""
    close_outdated_runs()
    for run in SyncRun.objects.filter(status=SyncRun.Status.RUNNING):
        idle = count_idle_workers(run, workers=settings.workers)
        if idle:
            logger.warning("Run %s lacks %s of its %s workers; it is continued", run.pk, idle, settings.workers)
            touch_run(run.pk)
            _queue_pages(run.pk, idle)


@shared_task(name="polar_sync.refresh_customers", ignore_result=True)
def refresh_customers(organization: str, ids: list[str]) -> None:
    """Queue a refresh of each of these customers."""
    for customer_id in ids:
        _queue(refresh_customer, organization, customer_id)


@shared_task(name="polar_sync.retry_failures", ignore_result=True)
def retry_failures(run: int) -> None:
    """Queue a refresh of each customer that a run could not mirror."""
    row = SyncRun.objects.select_related("organization").get(pk=run)
    refresh_customers(row.organization.name, [str(customer_id) for customer_id in get_failed_ids(run)])


def _queue_pages(run: int, workers: int) -> None:
    for _ in range(workers):
        _queue(sync_pages, run)


def _queue(task: Any, *arguments: Any, countdown: float | None = None) -> None:
    """Send after commit: a worker must never be quicker than the rows that it is told of."""
    send = partial(task.apply_async, arguments, countdown=countdown)
    transaction.on_commit(send, using=router.db_for_write(SyncRun))


def _add_jitter(seconds: float) -> float:
    """So that workers that wait for the same moment do not all come in it."""
    return seconds + random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - no secret
