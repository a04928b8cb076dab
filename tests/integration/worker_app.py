"""The example project's Celery application, in a hurry: leases of 5 seconds, and a minute of the budget takes 5 too."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from polar_sync import tasks  # noqa: E402 - only once Django is set up
from polar_sync.client import rate_limit  # noqa: E402
from polar_sync.sync import connections, fetching, page_results  # noqa: E402
from project.celery import app  # noqa: E402

__all__ = ["app"]

MINUTE = 5
settings.POLAR_SYNC = {**settings.POLAR_SYNC, "LEASE_SECONDS": 5, "STATE_SOURCE": "per_customer"}
rate_limit.WINDOW = MINUTE
connections.WORKER_PATIENCE = 0.5  # so that waits go through the broker
tasks._JITTER_SECONDS = 0.3

busy = Path(os.environ["POLAR_SYNC_TEST_BUSY_FILE"])


fetch_states = page_results.fetch_states


def fetch_and_tell(*args: Any, **kwargs: Any) -> Iterator[None]:
    """Keep a file there while the states of a page are on their way."""
    busy.touch()
    try:
        yield from fetch_states(*args, **kwargs)
    finally:
        busy.unlink(missing_ok=True)


vars(fetching)["fetch_states"] = fetch_and_tell
