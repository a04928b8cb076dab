"""What a person may do to a run from outside: cancel it, and have its failed customers asked for again."""

from __future__ import annotations

from uuid import UUID

from polar_sync.models import SyncFailure, SyncRun
from polar_sync.sync.runs import finish_run

CANCELLED = "cancelled"


def cancel_run(run_id: int, *, by: str) -> bool:
    """End a running run as failed, reason `cancelled`; False where it had ended already.

    Its workers notice at their next write, which is not made. What was committed stays, and nobody is marked deleted.
    """
    detail = f"Cancelled by {by}. What it had mirrored stays; the next run starts anew."
    return finish_run(run_id, SyncRun.Status.FAILED, reason=CANCELLED, detail=detail)


def get_failed_ids(run_id: int) -> list[UUID]:
    """Customers that a run could not mirror and that can be asked for again: those whose id is one."""
    found = []
    for text in SyncFailure.objects.filter(run=run_id).order_by("pk").values_list("customer_id", flat=True):
        try:
            found.append(UUID(text))
        except ValueError:  # what Polar sent had no id that could be asked for
            continue
    return found
