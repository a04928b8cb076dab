"""Forgetting: old runs, statistics and webhook deliveries, and customers who were deleted on Polar, by age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from django.db import router, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.conf import settings
from polar_sync.models import Customer, DailyStatistics, SyncRun, WebhookDelivery
from polar_sync.payloads import Interval, dump_canonical, load_canonical
from polar_sync.store.customers import CustomerRow, get_customers, lock_observation_records, write_customers
from polar_sync.store.ordering import ObservationRecord, Reading, Source, write_observation_records

ObservationRecords = Mapping[UUID, ObservationRecord]

_BATCH = 500
# What tells of no person. The dates stay, so that reports over the past stay true.
_IMPERSONAL = ("id", "organization_id", "created_at", "modified_at", "deleted_at", "type")


def prune_runs() -> int:
    """Remove finished runs older than `KEEP_RUNS_DAYS`, with their pages and failures; returns how many."""
    old = SyncRun.objects.filter(finished_at__lt=Now() - settings.keep_runs).exclude(status=SyncRun.Status.RUNNING)
    _, removed = old.delete()
    return removed.get(SyncRun._meta.label, 0)  # noqa: SLF001 - Django's public name for it


def prune_statistics() -> int:
    """Remove the statistics of days longer ago than `KEEP_STATISTICS_DAYS`; returns how many rows."""
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    return DailyStatistics.objects.filter(date__lt=today - settings.keep_statistics).delete()[0]


def prune_deliveries() -> int:
    """Remove webhook deliveries older than `KEEP_DELIVERIES_DAYS` that are not waiting any more; returns how many.

    Of customers who were scrubbed, those that came later are scrubbed too.
    """
    scrubbed = Customer.all_objects.exclude(scrubbed_at=None)
    _scrub_deliveries(WebhookDelivery.objects.filter(customer_id__in=scrubbed.values("pk")))
    old = WebhookDelivery.objects.filter(received_at__lt=Now() - settings.keep_deliveries)
    return old.exclude(status=WebhookDelivery.Status.RECEIVED).delete()[0]


def prune_customers() -> tuple[str, int]:
    """Do to long-deleted customers what `DELETED_CUSTOMERS` says; returns that word and how many it was done to."""
    action = settings.deleted_customers
    deleted = Customer.all_objects.filter(deleted_at__lt=Now() - settings.deleted_customers_after).order_by("pk")
    if action == "scrub":
        return action, _in_batches(deleted.filter(scrubbed_at=None), _scrub)
    if action == "delete":
        return action, _in_batches(deleted, _delete)
    return action, 0


def _in_batches(
    customers: QuerySet[Customer], work: Callable[[list[CustomerRow], ObservationRecords, str], None]
) -> int:
    """Small transactions, so that a run is never kept waiting for long, each under the locks that the store takes."""
    using = router.db_for_write(Customer)
    customers = customers.using(using)
    done = 0
    while True:
        with transaction.atomic(using=using):
            ids = list(customers.values_list("pk", flat=True)[:_BATCH])
            if not ids:
                return done
            records = lock_observation_records(ids, using=using)
            due = customers.filter(pk__in=ids).values_list("pk", flat=True)
            rows = list(get_customers(due, using=using).values())
            work(rows, records, using)
            done += len(rows)


def _delete(rows: list[CustomerRow], _: ObservationRecords, using: str) -> None:
    _scrub_deliveries(WebhookDelivery.objects.using(using).filter(customer_id__in=[row.id for row in rows]))
    Customer.all_objects.using(using).filter(pk__in=[row.id for row in rows]).delete()


def _scrub(rows: list[CustomerRow], records: ObservationRecords, using: str) -> None:
    for row in rows:
        data = load_canonical(row.payload)
        kept = {name: data[name] for name in _IMPERSONAL if name in data}
        row.payload, row.extra, row.state_extra = dump_canonical(kept), "", ""
    now = timezone.now()
    write_customers(rows, synced_at=now, scrubbed_at=now, using=using)
    _scrub_deliveries(WebhookDelivery.objects.using(using).filter(customer_id__in=[row.id for row in rows]))
    scrubbed = {row.id: _forget_before_absence(records[row.id]) for row in rows if row.id in records}
    write_observation_records(scrubbed, using=using)


def _scrub_deliveries(deliveries: QuerySet[WebhookDelivery]) -> None:
    """What webhooks said of these people goes with what is mirrored of them; that they were delivered stays.

    Not of those that wait to be processed, whose rows are locked by whoever waits for these customers.
    """
    kept = deliveries.filter(scrubbed_at=None).exclude(status=WebhookDelivery.Status.RECEIVED)
    kept.update(payload="", scrubbed_at=timezone.now())


def _forget_before_absence(record: ObservationRecord) -> ObservationRecord:
    """What was said before Polar knew the customer no more, and is heard only now, must not bring the person back."""
    if record.absent_at is None:
        return record
    reading = Reading(Interval.at(record.absent_at), Source.WRITTEN)
    return record.with_own(reading)._replace(extra_observed_at=record.absent_at)
