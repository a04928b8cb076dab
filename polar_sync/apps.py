"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PolarSyncConfig(AppConfig):
    """The mirror of Polar organizations."""

    name = "polar_sync"
    verbose_name = _("Polar")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from polar_sync import checks  # noqa: F401, PLC0415
