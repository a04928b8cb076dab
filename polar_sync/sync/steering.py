"""What a person may do to a run from outside: cancel it, and have its failed customers asked for again."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from polar_sync.models import CustomerObservation, SyncFailure, SyncRun
from polar_sync.payloads.values import read_uuid
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
    texts = SyncFailure.objects.filter(run=run_id).order_by("pk").values_list("customer_id", flat=True)
    return [key for text in texts if (key := read_uuid(text)) is not None]


def count_heard_since(run: SyncRun, ids: Collection[UUID]) -> int:
    """Of how many of these customers Polar has told since the run began: their failure in it is history."""
    return CustomerObservation.objects.filter(pk__in=ids, answered_at__gt=run.started_at).count()
