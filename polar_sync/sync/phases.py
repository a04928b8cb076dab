"""From one phase of a run to the next, once all its open pages are done. Asks Polar nothing."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import router, transaction

from polar_sync.conf import settings
from polar_sync.models import Customer, Organization, SyncPage, SyncRun, on_primary
from polar_sync.sync.completeness import MAX_PASSES, batch_unconfirmed, get_unseen, is_complete
from polar_sync.sync.runs import finish_run, open_next_pass

MOVING = (
    "Customers kept being deleted while paging, or Polar's totals did not agree with its pages: in {passes} passes "
    "none could show that nobody was skipped. Nobody was marked deleted for being unseen; the next run tries again."
)
_SMALL_ORGANIZATION = 10
"""Up to so many customers no share of missing ones is suspicious."""


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
