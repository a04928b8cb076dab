"""Runs: is the mirror fresh, and what failed?"""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from polar_sync.admin.base import ReadOnlyAdmin, ReadOnlyInline
from polar_sync.models import SyncFailure, SyncRun


class SyncFailureInline(ReadOnlyInline):
    """Customers that could not be mirrored."""

    model = SyncFailure
    fields = ("customer_id", "reason")
    readonly_fields = fields


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    """What each run came to."""

    list_display = ("id", "organization", "status", "reason", "listed_count", "requests", "started_at", "finished_at")
    list_filter = ("organization", "status")
    list_select_related = ("organization",)
    inlines = (SyncFailureInline,)

    @admin.display(description=_("customers"))
    def listed_count(self, run: SyncRun) -> int:
        """Customers that the run accounted for."""
        return run.listed
