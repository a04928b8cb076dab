"""Organizations: what the names of the settings stand for."""

from __future__ import annotations

from django.contrib import admin

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.models import Organization


@admin.register(Organization)
class OrganizationAdmin(ReadOnlyAdmin):
    """The organizations that are mirrored, and how fresh each is."""

    list_display = ("name", "polar_id", "server", "last_succeeded_at")
