"""`manage.py polar_sync_refill`: bring the columns of mirrored rows to what is kept of them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from polar_sync.store.refill import refill_columns


class Command(BaseCommand):
    help = (
        "Project the columns of every mirrored row anew from Polar's JSON that is kept with it. After an upgrade that "
        "gave a field a column of its own. Polar is not asked."
    )

    def handle(self, **options: Any) -> None:
        counts = refill_columns()
        text = ", ".join(f"{kind}: {number}" for kind, number in counts.items() if number)
        self.stdout.write(f"Rows that were not as they should be: {text or 'none'}.")
