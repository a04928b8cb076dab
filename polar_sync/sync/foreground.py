"""A run in this process, without Celery."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from django.db import DatabaseError

from polar_sync.models import SyncRun
from polar_sync.sync.connections import Connection
from polar_sync.sync.runs import drop_lost_connection, let_go
from polar_sync.sync.steps import Progress, take_step

_IDLE_SECONDS = 1.0


def work_in_foreground(
    run: SyncRun, connection: Connection, *, on_progress: Callable[[SyncRun], None] | None = None
) -> SyncRun:
    """Take steps until the run has ended; returns it as it ended.

    Interrupted by whatever exception, the run is let go of, so that the next command continues it at once.
    """
    try:
        while True:
            step = take_step(run.pk, connection)
            run.refresh_from_db(from_queryset=SyncRun.objects.select_related("organization"))
            if on_progress is not None:
                on_progress(run)
            if step.progress is Progress.ENDED or not run.is_running:
                return run
            if step.progress is Progress.WAITING:
                time.sleep(step.wait)
            elif step.progress is Progress.IDLE:  # Celery workers hold what is left
                time.sleep(_IDLE_SECONDS)
    except BaseException:
        drop_lost_connection()
        with suppress(DatabaseError):  # what interrupted the work is what the caller is to hear of
            let_go(run.pk)
        raise
