"""The example project's Celery application on a queue of the benchmark's own, its budget in the process."""

import os

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from project.celery import app  # noqa: E402 - only once Django is set up

__all__ = ["app"]

settings.POLAR_SYNC = {**settings.POLAR_SYNC, "THROTTLE_STORAGE": "memory://"}
app.conf.task_default_queue = os.environ["POLAR_BENCH_QUEUE"]
