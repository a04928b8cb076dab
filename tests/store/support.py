"""What the tests of the store have in common: a database per example, and all that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, settings

from polar_sync.models import (
    BenefitGrant,
    Customer,
    CustomerObservation,
    Meter,
    Subscription,
    SubscriptionMeter,
)
from polar_sync.payloads import Interval
from tests.factories import at

MIRROR = (Customer, CustomerObservation, Subscription, SubscriptionMeter, BenefitGrant, Meter)

# The same examples every time; a database is too slow for hypothesis' own idea of fast. Every example of a test works
# inside `rolled_back`, so that it may share the test's database fixture.
law = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=(HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large),
)


@contextmanager
def rolled_back() -> Iterator[None]:
    """What is done here is checked against the constraints and then forgotten."""
    with transaction.atomic():
        yield
        connection.check_constraints()
        transaction.set_rollback(True)


def take_snapshot(*, without: tuple[str, ...] = ("synced_at", "answered_at")) -> dict[str, dict[Any, dict[str, Any]]]:
    """Every column of every mirrored row, by table and key."""
    return {
        model.__name__: {
            row.pk: {
                field.attname: getattr(row, field.attname)
                for field in model._meta.concrete_fields
                if field.attname not in without
            }
            for row in model._default_manager.all()
        }
        for model in MIRROR
    }


def capture(work: Callable[[], Any]) -> list[str]:
    """The SQL of every statement that this does, savepoints included."""
    with CaptureQueriesContext(connection) as queries:
        work()
    return [query["sql"] for query in queries.captured_queries]


def get_writes(statements: list[str]) -> list[str]:
    return [one for one in statements if not one.startswith(("SELECT", "((", "(SELECT", "SAVEPOINT", "RELEASE"))]


def minutes(number: float) -> Interval:
    """One moment, so many minutes later: a state of that time can be of up to an hour before."""
    return Interval.at(at(0) + timedelta(minutes=number))
