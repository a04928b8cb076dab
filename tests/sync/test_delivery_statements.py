"""What a delivery costs the database: few statements in the receiver, and the same few for any batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.db import connection
from django.db.models import Count
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync, tasks
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Organization, WebhookDelivery
from polar_sync.sync.deliveries import process_deliveries
from polar_sync.testing import FakePolar
from polar_sync.tokens import Token
from polar_sync.webhooks.signatures import sign
from tests.factories import ORGANIZATION_ID, build_customer, create_delivery, make_uuid
from tests.store.support import rolled_back
from tests.sync.socketless import serve

pytestmark = pytest.mark.django_db

SECRET = "whsec_of_a_receiver_whose_statements_are_counted"


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements within, without those of transactions."""
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if "SAVEPOINT" not in sql:
            statements.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        yield statements


@pytest.fixture
def sent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that Celery was given, by a receiver with a broker."""
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {
            "default": {
                "ACCESS_TOKEN": "polar_oat_never_used",
                "ORGANIZATION_ID": str(ORGANIZATION_ID),
                "WEBHOOK_SECRETS": [SECRET],
            }
        }
    }
    messages: list[Any] = []
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://broker")
    monkeypatch.setattr(tasks.process_deliveries, "apply_async", lambda arguments, **_: messages.append(arguments))
    return messages


def dump_event(kind: str, data: Any) -> str:
    return json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data})


def deliver(name: object) -> str:
    """Have the receiver take a delivery that is new; returns its `webhook-id`."""
    body, message_id = dump_event("customer.created", build_customer(name)).encode(), str(uuid4())
    headers = sign(body, message_id=message_id, signed_at=datetime.now(UTC), secret=Token(SECRET))
    response = Client().post("/polar/webhooks/default/", data=body, content_type="application/json", headers=headers)
    assert (response.status_code, response.json()) == (202, {"status": "received"})
    return message_id


def test_receiver_takes_three_statements_for_a_new_delivery(sent: list[Any]) -> None:
    deliver("the first, which makes the row of the organization")
    with counted() as statements:
        deliver("Ada")
    assert [each.split()[0] for each in statements] == ["SELECT", "INSERT", "SELECT"]


def test_row_of_the_organization_follows_the_settings_and_is_written_only_then(sent: list[Any]) -> None:
    entry = polar_settings.get_organization("default")
    row = sync.get_organization_row(entry)
    with counted() as statements:
        assert sync.get_organization_row(entry) == row
    assert [each.split()[0] for each in statements] == ["SELECT"]
    Organization.objects.update(server="https://elsewhere.example")
    assert sync.get_organization_row(entry).server == entry.server
    assert Organization.objects.get().server == entry.server


def test_deliveries_that_wait_together_share_a_message(sent: list[Any]) -> None:
    for number in range(10):
        deliver(number)
    assert len(sent) == len({key // 50 for key in WebhookDelivery.objects.values_list("pk", flat=True)})


def test_of_every_fifty_deliveries_one_sends_a_message_however_many_wait(sent: list[Any]) -> None:
    organization = sync.get_organization_row(polar_settings.get_organization("default"))
    create_delivery(organization, "the last of its fifty", pk=149)
    assert sync.is_announced(create_delivery(organization, "the one before", pk=148)) is False
    assert sync.is_announced(create_delivery(organization, "the first of the next fifty", pk=150)) is False
    assert sync.is_announced(create_delivery(organization, "the one after", pk=151)) is True


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "processed"},
        {"via": "feed"},
        {"next_attempt_at": timezone.now()},
        {"received_at": timezone.now() - timedelta(minutes=1)},
    ],
)
def test_delivery_is_announced_where_the_earlier_one_may_have_nobody_who_processes_it(
    sent: list[Any], fields: dict[str, Any]
) -> None:
    organization = sync.get_organization_row(polar_settings.get_organization("default"))
    create_delivery(organization, "Ada", pk=100, **fields)
    assert sync.is_announced(create_delivery(organization, "Grace", pk=101)) is False


def test_delivery_is_announced_where_the_earlier_one_is_another_organizations(sent: list[Any]) -> None:
    organization = sync.get_organization_row(polar_settings.get_organization("default"))
    other = Organization.objects.create(name="other", polar_id=make_uuid("other"), server="production")
    create_delivery(other, "Ada", pk=100)
    assert sync.is_announced(create_delivery(organization, "Grace", pk=101)) is False


def test_batch_of_a_hundred_takes_as_many_statements_as_one_of_ten(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    few, many = (count_statements(number, monkeypatch, settings) for number in (10, 100))
    if connection.features.max_query_params is None:
        assert many == few <= 30
    else:  # SQLite takes so many parameters in a statement, and what is written is split among several
        assert many < 2 * few


def count_statements(customers: int, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> int:
    """The statements of a batch of one delivery about each of so many customers, of four types."""
    with monkeypatch.context() as patched, rolled_back():
        now = datetime(2025, 6, 1, tzinfo=UTC)
        polar = FakePolar(seed="statements", clock=lambda: now)
        polar.webhooks.sender.is_background = False
        serve(polar, patched, settings)
        polar.generate_customers(customers)
        entry = polar_settings.get_organization("default")
        with sync.connect(entry) as opened:
            sync.work_in_foreground(sync.begin_run(entry), opened)
        row = sync.get_organization_row(entry)
        polar.webhooks.add_endpoint("http://127.0.0.1:9/")
        for number, key in enumerate(polar.customers):
            now += timedelta(hours=1)
            polar.update_customer(key, name="Another")
            polar.subscribe(key, polar.products[0])
            polar.grant(key, polar.benefits[0])
            keep_one(polar, row, UUID(key), number)
        with counted() as statements:
            assert process_deliveries(entry, row) == customers
        statuses = dict(WebhookDelivery.objects.order_by().values_list("status").annotate(Count("pk")))
        assert statuses == {"processed": customers}
    return len(statements)


def keep_one(polar: FakePolar, organization: Organization, customer_id: UUID, number: int) -> None:
    types = ("customer.state_changed", "customer.updated", "subscription.created", "benefit_grant.created")
    wanted = types[number % len(types)]
    for event in reversed(polar.webhooks.events):
        read = sync.read_event(event.payload or "") if event.type == wanted else None
        if read is not None and read.customer_id == customer_id:
            sync.keep_delivery(organization, webhook_id=event.id, body=event.payload or "", event=read)
            return
    raise AssertionError(f"no event of type {wanted}")
