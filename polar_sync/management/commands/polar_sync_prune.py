"""`manage.py polar_sync_prune`: forget old runs, statistics, deliveries and, by the settings, deleted customers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from polar_sync.exceptions import ConfigurationError
from polar_sync.store.pruning import prune_customers, prune_deliveries, prune_runs, prune_statistics


class Command(BaseCommand):
    help = (
        "Remove the records of runs older than KEEP_RUNS_DAYS, daily statistics older than KEEP_STATISTICS_DAYS and "
        "webhook deliveries older than KEEP_DELIVERIES_DAYS; "
        "scrub or delete customers who were deleted on Polar longer than DELETED_CUSTOMERS_AFTER_DAYS ago, as "
        "DELETED_CUSTOMERS says (keep, scrub, delete)."
    )

    def handle(self, **options: Any) -> None:
        try:
            runs = prune_runs()
            statistics = prune_statistics()
            deliveries = prune_deliveries()
            action, customers = prune_customers()
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=2) from None
        self.stdout.write(
            f"{runs} runs, {statistics} daily statistics and {deliveries} webhook deliveries removed; "
            f"deleted customers: {action}, {customers} of them now."
        )
