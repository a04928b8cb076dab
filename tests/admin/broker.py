"""Celery's broker, another one for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import before_task_publish

from project.celery import app


@contextmanager
def use_broker(url: str, **settings: Any) -> Iterator[None]:
    changed = {"broker_url": url, "broker_transport": None, **settings}
    before = {name: app.conf[name] for name in changed}
    try:
        app.conf.update(changed)
        forget_connections()
        yield
    finally:
        app.conf.update(before)
        forget_connections()


def forget_connections() -> None:
    """Celery keeps them for as long as its process lives."""
    for holder, name in ((app, "_pool"), (app.amqp, "_producer_pool")):
        setattr(holder, name, None)


@contextmanager
def collect_tasks() -> Iterator[list[tuple[Any, ...]]]:
    """Name and arguments of every task that is sent meanwhile, to nobody."""
    sent: list[tuple[Any, ...]] = []

    def hear(sender: str, body: Any, **_: Any) -> None:
        sent.append((sender, *body[0]))

    before_task_publish.connect(hear)
    try:
        with use_broker("memory://", broker_transport_options={}):
            yield sent
    finally:
        before_task_publish.disconnect(hear)
