"""Who works on what: pages claimed by a conditional update, on the database's clock."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from polar_sync.conf import settings
from polar_sync.models import SyncPage, SyncRun

_FREE = Q(leased_until=None) | Q(leased_until__lt=Now())
_CANDIDATES = 20
"""Pages tried in one claim; more workers than this at once on one run find something at their next try."""


class LeaseLostError(Exception):
    """Another worker holds the page, or the run has ended; nothing more may be written for it."""


def claim_page(run_id: int) -> SyncPage | None:
    """Claim the first open page of a running run; None where all are done or held by others."""
    open_pages = SyncPage.objects.filter(_FREE, run_id=run_id, run__status=SyncRun.Status.RUNNING, is_done=False)
    for pk in open_pages.order_by("pk").values_list("pk", flat=True)[:_CANDIDATES]:
        token = uuid4()
        hit = SyncPage.objects.filter(_FREE, pk=pk, is_done=False).update(
            lease_token=token, leased_until=_get_lease_end(), claims=F("claims") + 1
        )
        if hit:
            touch_run(run_id)
            return SyncPage.objects.get(pk=pk, lease_token=token)
    return None


def renew_lease(page: SyncPage) -> None:
    """Hold the page for another lease. Raises `LeaseLostError`."""
    if not _get_held(page).update(leased_until=_get_lease_end()):
        raise LeaseLostError
    touch_run(page.run_id)


class LeaseKeeper:
    """Renews a page's lease once a third of it has passed, however often it is asked."""

    def __init__(self, page: SyncPage) -> None:
        self._page = page
        self._renewed_at = time.monotonic()

    def tick(self) -> None:
        """Renew if it is time. Raises `LeaseLostError`."""
        now = time.monotonic()
        if now - self._renewed_at >= settings.lease_seconds / 3:
            renew_lease(self._page)
            self._renewed_at = now


def release_page(page: SyncPage, *, is_counted: bool) -> None:
    """Give the page back for anybody to claim. A claim that only met a wait is not counted against the page."""
    _get_held(page).update(lease_token=None, leased_until=None, claims=F("claims") if is_counted else F("claims") - 1)


def finish_page(page: SyncPage, **counts: object) -> None:
    """Mark the page done in the caller's transaction. Raises `LeaseLostError`, which must roll it back."""
    if not _get_held(page).update(is_done=True, lease_token=None, leased_until=None, **counts):
        raise LeaseLostError


def save_page(page: SyncPage, **counts: object) -> None:
    """Note what was done of the page so far. Raises `LeaseLostError`, which must roll the transaction back."""
    if not _get_held(page).update(**counts):
        raise LeaseLostError


def count_live_leases(run_id: int) -> int:
    """How many pages of the run are being worked on."""
    return SyncPage.objects.filter(run_id=run_id, is_done=False, leased_until__gte=Now()).count()


def count_idle_workers(run: SyncRun, *, workers: int) -> int:
    """How many of a running run's workers are gone: all where it is abandoned, else those that open pages wait for.

    A worker whose message is still under way is counted too; one too many finds the places taken and ends.
    """
    if filter_abandoned(SyncRun.objects.filter(pk=run.pk)).exists():
        return workers
    if SyncRun.objects.filter(pk=run.pk, waiting_until__gte=Now()).exists():
        return 0
    claimable = SyncPage.objects.filter(_FREE, run=run, is_done=False).count()
    return max(0, min(workers - count_live_leases(run.pk), claimable))


def touch_run(run_id: int) -> None:
    """Say that somebody is on the run."""
    SyncRun.objects.filter(pk=run_id, status=SyncRun.Status.RUNNING).update(heartbeat_at=Now())


def filter_abandoned(runs: QuerySet[SyncRun]) -> QuerySet[SyncRun]:
    """Those running with no live lease, no fresh heartbeat, and nobody waiting for the budget."""
    overdue = Now() - timedelta(seconds=settings.lease_seconds)
    return runs.filter(
        Q(heartbeat_at=None) | Q(heartbeat_at__lt=overdue),
        Q(waiting_until=None) | Q(waiting_until__lt=overdue),
        status=SyncRun.Status.RUNNING,
    ).exclude(
        pk__in=SyncPage.objects.filter(is_done=False, leased_until__gte=Now()).values("run_id"),
    )


def _get_held(page: SyncPage) -> QuerySet[SyncPage]:
    # The token stands in the UPDATE's own WHERE, and not behind a join: PostgreSQL looks again, after waiting for
    # whoever has the row locked, at the conditions on that very row only.
    running = SyncRun.objects.filter(status=SyncRun.Status.RUNNING)
    return SyncPage.objects.filter(pk=page.pk, is_done=False, lease_token=page.lease_token, run__in=running)


def _get_lease_end() -> object:
    return Now() + timedelta(seconds=settings.lease_seconds)
