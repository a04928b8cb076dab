"""Forgetting: old runs, and customers who were deleted on Polar, by age."""

from __future__ import annotations

from typing import Any

from django.db import router, transaction
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.conf import settings
from polar_sync.models import Customer, SyncRun
from polar_sync.payloads import CUSTOMER, dump_canonical, load_canonical

_BATCH = 500
# What tells of no person. The dates stay, so that reports over the past stay true.
_IMPERSONAL = ("id", "organization_id", "created_at", "modified_at", "deleted_at", "type")


def prune_runs() -> int:
    """Remove finished runs older than `KEEP_RUNS_DAYS`, with their pages and failures; returns how many."""
    old = SyncRun.objects.filter(finished_at__lt=Now() - settings.keep_runs).exclude(status=SyncRun.Status.RUNNING)
    _, removed = old.delete()
    return removed.get(SyncRun._meta.label, 0)  # noqa: SLF001 - Django's public name for it


def prune_customers() -> tuple[str, int]:
    """Do to long-deleted customers what `DELETED_CUSTOMERS` says; returns that word and how many it was done to."""
    action = settings.deleted_customers
    deleted = Customer.all_objects.filter(deleted_at__lt=Now() - settings.deleted_customers_after).order_by("pk")
    if action == "scrub":
        return action, _in_batches(deleted.filter(scrubbed_at=None), _scrub)
    if action == "delete":
        return action, _in_batches(deleted, _delete)
    return action, 0


def _in_batches(customers: Any, work: Any) -> int:
    """Small transactions, so that a run is never kept waiting for long."""
    done = 0
    while True:
        with transaction.atomic(using=router.db_for_write(Customer)):
            rows = list(customers.select_for_update()[:_BATCH])
            if not rows:
                return done
            work(rows)
            done += len(rows)


def _delete(rows: list[Customer]) -> None:
    Customer.all_objects.filter(pk__in=[row.pk for row in rows]).delete()


def _scrub(rows: list[Customer]) -> None:
    for row in rows:
        data = load_canonical(row.payload)
        kept = {name: data[name] for name in _IMPERSONAL if name in data}
        row.payload, row.extra, row.state_extra = dump_canonical(kept), "", ""
        row.scrubbed_at = timezone.now()
        for name, value in CUSTOMER.project(row.payload).items():
            if name != "deleted_at":
                setattr(row, name, value)
    columns = [name for name in CUSTOMER.columns if name != "deleted_at"]
    Customer.all_objects.bulk_update(rows, [*columns, "payload", "extra", "state_extra", "scrubbed_at"], batch_size=100)
