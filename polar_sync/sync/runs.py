"""The life of a run: started or continued, advanced from phase to phase, cancelled, ended."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from polar_sync.client import Usage
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import RunActiveError
from polar_sync.models import (
    Customer,
    CustomerObservation,
    Organization,
    SyncFailure,
    SyncPage,
    SyncRun,
    WebhookDelivery,
    on_primary,
)
from polar_sync.payloads import STATE_AGE
from polar_sync.payloads.values import clean_text, read_uuid
from polar_sync.store.statistics import record_statistics
from polar_sync.sync.completeness import (
    MAX_PASSES,
    batch_unconfirmed,
    find_last_number,
    get_unseen,
    get_window,
    is_complete,
)
from polar_sync.sync.leases import filter_abandoned

logger = logging.getLogger(__name__)
MOVING = (
    "Customers kept being deleted while paging, or Polar's totals did not agree with its pages: in {passes} passes "
    "none could show that nobody was skipped. Nobody was marked deleted for being unseen; the next run tries again."
)
_SMALL_ORGANIZATION = 10
"""Up to so many customers no share of missing ones is suspicious."""
CANCELLED = "cancelled"


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
            began_at = SyncRun.objects.values_list("began_at", flat=True).get(pk=run_id)
            Organization.objects.filter(runs=run_id).update(last_succeeded_at=Now(), complete_as_of=began_at)
            record_statistics(on_primary(Organization.objects).get(runs=run_id))
        if hit:
            _repeat_benefits(run_id)
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


def _repeat_benefits(run_id: int) -> None:
    """Have changes of benefits processed again that were reported meanwhile: the run may have written older metadata.

    It is about those whom the mirror did not know when that was done, and states that Polar had cached.
    """
    run = SyncRun.objects.get(pk=run_id)
    if run.began_at is not None:
        rows = WebhookDelivery.objects.filter(organization=run.organization_id, status=WebhookDelivery.Status.PROCESSED)
        changed = rows.filter(type="benefit.updated", timestamp__gt=run.began_at - STATE_AGE).exclude(payload="")
        changed.update(status=WebhookDelivery.Status.RECEIVED)


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


def advance_run(run_id: int) -> int:
    """End the run or open its next phase where nothing of the present one is left; returns the pages opened."""
    using = router.db_for_write(SyncRun)
    with transaction.atomic(using=using):
        run = _lock_running(run_id)
        if run is None or run.pages.filter(is_done=False).exists():
            return 0
        if run.pages.filter(kind=SyncPage.Kind.CONFIRM).exists():
            _end(run)
            return 0
        if is_complete(run):
            return _open_confirmation(run)
        if run.pass_number >= MAX_PASSES:
            _end(run, reason="moving", detail=MOVING.format(passes=MAX_PASSES))
            return 0
        open_next_pass(run)
        return 1


def _lock_running(run_id: int) -> SyncRun | None:
    runs = SyncRun.objects.select_for_update(of=("self",)).select_related("organization")
    return runs.filter(pk=run_id, status=SyncRun.Status.RUNNING).first()


def _open_confirmation(run: SyncRun) -> int:
    """Ask for each living customer that was not seen; none is marked deleted for being off the list or denied."""
    missing = get_unseen(run).count()
    objection = None
    if missing and not run.is_mass_deletion_allowed:
        denied = run.contradictions.count()
        objection = find_objection(run.organization, missing=missing, listed=run.listed, denied=denied)
    if objection is not None:
        _end(run, reason=objection[0], detail=objection[1])
        return 0
    pages = [
        SyncPage(run=run, kind=SyncPage.Kind.CONFIRM, pass_number=run.pass_number, number=number, customer_ids=ids)
        for number, ids in enumerate(batch_unconfirmed(run), start=1)
    ]
    SyncPage.objects.bulk_create(pages)
    if not pages:
        _end(run)
    return len(pages)


def find_objection(organization: Organization, *, missing: int, listed: int, denied: int) -> tuple[str, str] | None:
    """Why so many missing customers are not believed: reason and detail; None where they may be asked about.

    `listed` were accounted for, `denied` are listed ones whose states Polar said do not exist.
    """
    living = on_primary(Customer.objects).filter(organization_id=organization.polar_id).count()
    advice = "Nobody was marked deleted. If it is true, run again with --allow-mass-deletion."
    if missing == living and not listed and not denied:
        # Another organization's token is answered ResourceNotFound for each of ours, and an empty list tells not whose.
        return "empty_listing", f"Polar lists no customer, the mirror holds {living}. {advice}"
    share = settings.mass_deletion_share
    if living > _SMALL_ORGANIZATION and missing > living * share:
        what = f"{missing} of {living} customers are not on Polar's list"
        if denied:
            what += f" or, listed, are said not to exist when their states are asked for ({denied})"
        return "mass_deletion", f"{what}, more than MASS_DELETION_SHARE ({share}). {advice}"
    return None


def find_reservation(outcomes: Mapping[str, int]) -> tuple[str, str] | None:
    """Why a run that accounted for everybody is no success for all that: reason and detail; None where it is one."""
    failed, stale, listed = outcomes["failed"], outcomes["stale"], sum(outcomes.values())
    if failed:
        return "customers_failed", f"{failed} customers could not be mirrored; see the run's failures."
    share = settings.mass_deletion_share
    if stale > _SMALL_ORGANIZATION and stale > listed * share:
        return "stale", (
            f"Of {stale} of {listed} customers the mirror knows something later than Polar answered, and keeps it. "
            "Either most of them were changed during the run, or a clock was wrong when they were written."
        )
    return None


def _end(run: SyncRun, *, reason: str = "", detail: str = "") -> None:
    if not reason:
        reason, detail = find_reservation(run.outcomes) or ("", "")
    finish_run(run.pk, SyncRun.Status.PARTIAL if reason else SyncRun.Status.SUCCEEDED, reason=reason, detail=detail)


def cancel_run(run_id: int, *, by: str) -> bool:
    """End a running run as failed, reason `cancelled`; False where it had ended already.

    Its workers notice at their next write, which is not made. What was committed stays, and nobody is marked deleted.
    """
    detail = f"Cancelled by {by}. What it had mirrored stays; the next run starts anew."
    return finish_run(run_id, SyncRun.Status.FAILED, reason=CANCELLED, detail=detail)


def get_failed_ids(run_id: int) -> list[UUID]:
    """Customers that a run could not mirror and that can be asked for again: those whose id is one."""
    texts = SyncFailure.objects.filter(run=run_id).order_by("pk").values_list("customer_id", flat=True)
    return [key for text in texts if (key := read_uuid(text)) is not None]


def count_heard_since(run: SyncRun, ids: Collection[UUID]) -> int:
    """Of how many of these customers Polar has told since the run began: their failure in it is history."""
    return CustomerObservation.objects.filter(pk__in=ids, answered_at__gt=run.started_at).count()
