"""Reading what was just written: from the database that is written to, and never from a replica that lags behind it."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models, router

M = TypeVar("M", bound=models.Model)


class PrimaryManager(models.Manager[M]):
    """Reads where it writes, whatever the project's routers say of reading, unless a database is named.

    For the record of runs: what a run does next follows from rows that it wrote a moment ago.
    https://docs.djangoproject.com/en/stable/topics/db/multi-db/#automatic-database-routing
    """

    def get_queryset(self) -> models.QuerySet[M]:
        """All rows, on the primary."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


def on_primary(manager: models.Manager[M]) -> Any:
    """The manager's rows as `PrimaryManager` reads them, of the manager's own query set class.

    For mirrored rows, which a project may well read from its replicas, but whoever writes them may not.
    """
    return manager.get_queryset().using(router.db_for_write(manager.model))
