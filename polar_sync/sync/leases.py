"""Who works on what: pages claimed by a conditional update, on the database's clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
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


def claim_pages(run_id: int, *, at_most: int = 1, workers: int = 1) -> list[SyncPage]:
    """Claim the first open page of a running run, and some after it; none where all are done or held by others.

    Only pages of the first pass that nobody has tried yet are claimed together, so that whatever goes wrong with one is
    tried again with that one alone, and each of `workers` is left its share.
    """
    open_pages = SyncPage.objects.filter(_FREE, run_id=run_id, run__status=SyncRun.Status.RUNNING, is_done=False)
    candidates = list(open_pages.order_by("pk")[:_CANDIDATES])
    limit = min(at_most, -(-len(candidates) // workers))
    token, claimed = uuid4(), 0
    for page in candidates:
        if claimed and not (claimed < limit and _is_untried(page)):
            break
        hit = SyncPage.objects.filter(_FREE, pk=page.pk, is_done=False).update(
            lease_token=token, leased_until=_get_lease_end(), claims=F("claims") + 1
        )
        claimed += hit
        if hit and not _is_untried(page):
            break
    if not claimed:
        return []
    touch_run(run_id)
    return list(SyncPage.objects.filter(run_id=run_id, lease_token=token).order_by("pk"))


def _is_untried(page: SyncPage) -> bool:
    return page.kind == SyncPage.Kind.LIST and page.pass_number == 1 and page.number > 1 and page.claims == 0


def renew_lease(page: SyncPage) -> None:
    """Hold the page for another lease. Raises `LeaseLostError`."""
    if not _get_held(page).update(leased_until=_get_lease_end()):
        raise LeaseLostError


class LeaseKeeper:
    """Renews the leases of a claim, of one page or more, once a third of them has passed, however often it is asked."""

    def __init__(self, pages: Sequence[SyncPage]) -> None:
        self._run_id, self._pages = pages[0].run_id, list(pages)
        self._renewed_at = time.monotonic()

    def tick(self) -> None:
        """Renew if it is time. Raises `LeaseLostError` where none of the pages is ours any more."""
        if self._pages and time.monotonic() - self._renewed_at >= settings.lease_seconds / 3:
            self.renew()

    def renew(self) -> None:
        """Hold the pages for another lease. Raises `LeaseLostError` where none is ours any more."""
        for page in list(self._pages):
            try:
                renew_lease(page)
            except LeaseLostError:
                self.drop(page)
        if not self._pages:
            raise LeaseLostError
        touch_run(self._run_id)
        self._renewed_at = time.monotonic()

    def drop(self, page: SyncPage) -> None:
        """Hold this page no longer: it is done, or another's."""
        if page in self._pages:
            self._pages.remove(page)

    def release(self, *, is_counted: bool) -> None:
        """Give back what is still held."""
        for page in self._pages:
            release_page(page, is_counted=is_counted)


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
    """How many workers are on the run; the pages of one claim share its token."""
    held = SyncPage.objects.filter(run_id=run_id, is_done=False, leased_until__gte=Now())
    return held.values("lease_token").distinct().count()


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
