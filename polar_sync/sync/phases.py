"""From one phase of a run to the next, once all its open pages are done. Asks Polar nothing."""

from __future__ import annotations

from django.db import router, transaction

from polar_sync.conf import settings
from polar_sync.models import Customer, SyncPage, SyncRun
from polar_sync.sync.completeness import MAX_PASSES, batch_ids, get_unseen, is_complete
from polar_sync.sync.runs import finish_run, open_next_pass

_SMALL_ORGANIZATION = 10
"""Up to so many customers no share of missing ones is suspicious."""


def advance_run(run_id: int) -> int:
    """End the run or open its next phase where nothing of the present one is left; returns the pages opened."""
    using = router.db_for_write(SyncRun)
    with transaction.atomic(using=using):
        run = SyncRun.objects.select_for_update().filter(pk=run_id, status=SyncRun.Status.RUNNING).first()
        if run is None or run.pages.filter(is_done=False).exists():
            return 0
        if run.pages.filter(kind=SyncPage.Kind.CONFIRM).exists():
            _end(run)
            return 0
        if is_complete(run):
            return _open_confirmation(run)
        if run.pass_number >= MAX_PASSES:
            _end(
                run,
                reason="moving",
                detail=f"Customers kept being deleted while paging, and in {MAX_PASSES} passes none could show that "
                "nobody was skipped. Nobody was marked deleted for being unseen; the next run tries again.",
            )
            return 0
        open_next_pass(run)
        return 1


def _open_confirmation(run: SyncRun) -> int:
    """Ask about each living customer that was not seen; none is marked deleted for being off the list."""
    unseen = get_unseen(run)
    missing = unseen.count()
    objection = _get_objection(run, missing) if missing and not run.is_mass_deletion_allowed else None
    if objection is not None:
        _end(run, reason=objection[0], detail=objection[1])
        return 0
    pages = [
        SyncPage(run=run, kind=SyncPage.Kind.CONFIRM, pass_number=run.pass_number, number=number, customer_ids=ids)
        for number, ids in enumerate(batch_ids(unseen), start=1)
    ]
    SyncPage.objects.bulk_create(pages)
    if not pages:
        _end(run)
    return len(pages)


def _get_objection(run: SyncRun, missing: int) -> tuple[str, str] | None:
    """Why so many missing customers are not believed: reason and detail; None where they may be asked about."""
    living = Customer.objects.filter(organization=run.organization).count()
    advice = "Nobody was marked deleted. If it is true, run again with --allow-mass-deletion."
    if missing == living and not run.listed:
        # Another organization's token is answered ResourceNotFound for each of ours, and an empty list tells not whose.
        return "empty_listing", f"Polar lists no customer, the mirror holds {living}. {advice}"
    share = settings.mass_deletion_share
    if living > _SMALL_ORGANIZATION and missing > living * share:
        return (
            "mass_deletion",
            f"{missing} of {living} customers are not on Polar's list, more than MASS_DELETION_SHARE ({share}). "
            + advice,
        )
    return None


def _end(run: SyncRun, *, reason: str = "", detail: str = "") -> None:
    if not reason and run.failed:
        reason, detail = "customers_failed", f"{run.failed} customers could not be mirrored; see the run's failures."
    finish_run(run.pk, SyncRun.Status.PARTIAL if reason else SyncRun.Status.SUCCEEDED, reason=reason, detail=detail)
