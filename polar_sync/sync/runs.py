"""The life of a run: started or continued, advanced from phase to phase, ended."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from polar_sync.client import Usage
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import RunActiveError
from polar_sync.models import Organization, SyncPage, SyncRun, on_primary
from polar_sync.payloads.values import clean_text
from polar_sync.store.statistics import record_statistics
from polar_sync.sync.leases import filter_abandoned
from polar_sync.sync.windows import find_last_number, get_window

logger = logging.getLogger(__name__)


def begin_run(organization: OrganizationSettings, *, is_mass_deletion_allowed: bool = False) -> SyncRun:
    """Start a run, or continue the one that was abandoned. Raises `RunActiveError` while one is worked on.

    An abandoned run older than `RUN_MAX_AGE_HOURS` is closed as failed, and a new one started.
    """
    using = router.db_for_write(SyncRun)
    row, _ = Organization.objects.update_or_create(name=organization.name, defaults={"server": organization.server})
    with transaction.atomic(using=using):
        active = _get_running(row, SyncRun.objects.select_for_update(of=("self",)))
        if active is not None and not close_if_outdated(active):
            return _take_over(active, is_mass_deletion_allowed=is_mass_deletion_allowed)
        return _create_run(row, is_mass_deletion_allowed=is_mass_deletion_allowed)


def _create_run(organization: Organization, *, is_mass_deletion_allowed: bool) -> SyncRun:
    try:
        with transaction.atomic(using=router.db_for_write(SyncRun)):
            run = SyncRun.objects.create(organization=organization, is_mass_deletion_allowed=is_mass_deletion_allowed)
    except IntegrityError:
        active = _get_running(organization, SyncRun.objects.all())
        if active is None:
            raise
        raise _refuse(active) from None
    open_pass(run)
    return run


def _take_over(run: SyncRun, *, is_mass_deletion_allowed: bool) -> SyncRun:
    hit = filter_abandoned(SyncRun.objects.filter(pk=run.pk)).update(
        heartbeat_at=Now(),
        waiting_until=None,
        is_mass_deletion_allowed=run.is_mass_deletion_allowed or is_mass_deletion_allowed,
    )
    if not hit:
        raise _refuse(run)
    logger.info("Run %s of %s continues", run.pk, run.organization)
    run.refresh_from_db(from_queryset=SyncRun.objects.select_related("organization"))
    return run


def _get_running(organization: Organization, runs: QuerySet[SyncRun]) -> SyncRun | None:
    return runs.select_related("organization").filter(organization=organization, status=SyncRun.Status.RUNNING).first()


def _refuse(run: SyncRun) -> RunActiveError:
    return RunActiveError(
        f"Run {run.pk} of {run.organization} is active since {run.started_at:%Y-%m-%d %H:%M} UTC. Wait for it; if "
        f"its process was killed, it can be continued {settings.lease_seconds} seconds after its last sign of life.",
        run_id=run.pk,
    )


def close_if_outdated(run: SyncRun) -> bool:
    """Close as failed a run that is abandoned and too old to be continued; whether it was."""
    outdated = filter_abandoned(SyncRun.objects.filter(pk=run.pk, started_at__lt=Now() - settings.run_max_age))
    if not outdated.exists():
        return False
    return finish_run(
        run.pk,
        SyncRun.Status.FAILED,
        reason="abandoned",
        detail=f"Nobody worked on it for too long to continue it (RUN_MAX_AGE_HOURS: {settings.run_max_age}).",
    )


def open_pass(run: SyncRun) -> None:
    """Open the first page of the run's first pass; its answer tells how many follow."""
    open_page(run, number=1)


def open_next_pass(run: SyncRun) -> None:
    """Begin a walk backwards through the list, from where the pass before ended; nobody older is further on."""
    before = SyncPage.objects.filter(run=run, kind=SyncPage.Kind.LIST, pass_number=run.pass_number)
    last = before.aggregate(last=Max("number"))["last"] or 1
    end = get_window(last, pass_number=run.pass_number).end
    run.pass_number += 1
    run.pass_began_at = run.pass_total = None
    run.save(update_fields=["pass_number", "pass_began_at", "pass_total"])
    open_page(run, number=find_last_number(end))


def open_page(run: SyncRun, *, number: int) -> None:
    """Open one page of the list in the run's present pass."""
    SyncPage.objects.create(run=run, kind=SyncPage.Kind.LIST, pass_number=run.pass_number, number=number)


def open_following_pages(run: SyncRun, *, max_page: int) -> int:
    """Make a row for each page up to `max_page` that has none yet; returns how many were made."""
    pages = SyncPage.objects.filter(run=run, kind=SyncPage.Kind.LIST, pass_number=run.pass_number)
    known = set(pages.values_list("number", flat=True))
    rows = [
        SyncPage(run=run, kind=SyncPage.Kind.LIST, pass_number=run.pass_number, number=number)
        for number in range(1, max_page + 1)
        if number not in known
    ]
    SyncPage.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def finish_run(run_id: int, status: str, *, reason: str = "", detail: str = "") -> bool:
    """End a run; False where it had ended already. Nothing partial is ever called a success.

    A success and the day's statistics are committed together.
    `detail` may quote Polar: what no database takes is replaced.
    """
    detail = clean_text(detail)
    using = router.db_for_write(SyncRun)
    with transaction.atomic(using=using):
        hit = SyncRun.objects.filter(pk=run_id, status=SyncRun.Status.RUNNING).update(
            status=status, reason=reason, detail=detail, finished_at=Now(), heartbeat_at=None, waiting_until=None
        )
        if hit and status == SyncRun.Status.SUCCEEDED:
            Organization.objects.filter(runs=run_id).update(last_succeeded_at=Now())
            record_statistics(on_primary(Organization.objects).get(runs=run_id))
    if hit:
        logger.log(
            logging.INFO if status == SyncRun.Status.SUCCEEDED else logging.WARNING,
            "Run %s %s %s %s",
            run_id,
            status,
            reason,
            detail,
        )
    return bool(hit)


def note_wait(run_id: int, seconds: float) -> None:
    """Say that the run waits on purpose, so that nobody takes it for abandoned."""
    SyncRun.objects.filter(pk=run_id).update(waiting_until=Now() + timedelta(seconds=seconds), heartbeat_at=Now())


def note_usage(run_id: int, usage: Usage) -> None:
    """Add requests, by what they asked for, and throttled seconds to the run's account."""
    if not usage.requests and not usage.throttled_seconds:
        return
    with transaction.atomic(using=router.db_for_write(SyncRun)):
        run = SyncRun.objects.select_for_update().get(pk=run_id)
        run.requests += usage.requests
        run.throttled_seconds += usage.throttled_seconds
        run.requests_by_part = dict(Counter(run.requests_by_part) + Counter(usage.operations))
        run.save(update_fields=["requests", "throttled_seconds", "requests_by_part"])


def drop_lost_connection() -> None:
    """Close the database connection where it failed and is of no more use; the next statement opens a new one."""
    connection = connections[router.db_for_write(SyncRun)]
    if not connection.in_atomic_block:  # else it is for whoever began the transaction to see to
        connection.close_if_unusable_or_obsolete()


def let_go(run_id: int) -> None:
    """Leave a run so that the next command or worker continues it at once, unless others still hold pages of it."""
    SyncRun.objects.filter(pk=run_id, status=SyncRun.Status.RUNNING).update(heartbeat_at=None, waiting_until=None)
