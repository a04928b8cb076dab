"""The example project: a Django site that mirrors one Polar organization."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
