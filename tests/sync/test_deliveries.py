"""Deliveries in batches: what they change and what became of them is one transaction, and none keeps others waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from polar_sync import sync
from polar_sync.models import Customer, Organization, PendingRefresh, WebhookDelivery
from polar_sync.signals import customer_changed
from polar_sync.sync import deliveries
from tests.store.support import capture, take_snapshot
from tests.sync.hearing import Hearing, change_event, keep_body, list_left, list_verdicts, write_event

pytestmark = pytest.mark.django_db


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    """A mirror of three customers, and an endpoint that hears of everything."""
    hearing = Hearing(monkeypatch, settings)
    hearing.add_endpoint()
    with hearing.polar.webhooks.silence():
        hearing.polar.generate_customers(3)
    hearing.run()
    hearing.pass_time(7200)
    hearing.take_events()
    return hearing


def make_due() -> None:
    WebhookDelivery.objects.exclude(next_attempt_at=None).update(next_attempt_at=timezone.now() - timedelta(seconds=1))


def fail_for(key: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Applying a batch breaks that is about this customer."""
    apply_events = vars(deliveries)["apply_events"]

    def apply_or_fail(entries: Any, **rest: Any) -> None:
        apply_events(entries, **rest)
        if any(str(entry.event.customer_id) == key for entry in entries):
            raise error

    monkeypatch.setattr(deliveries, "apply_events", apply_or_fail)


# One transaction


@pytest.mark.parametrize("error", [KeyboardInterrupt, OperationalError])
def test_batch_that_is_broken_off_leaves_everything_as_it_was_and_is_done_again(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    for key in hearing.polar.customers:
        hearing.polar.update_customer(key, name="Grace")
    before = take_snapshot()
    events = hearing.take_events()
    hearing.keep(events)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("polar_sync.sync.event_batch.note_wanted", fail)
        with pytest.raises(error):
            hearing.process()
    assert take_snapshot() == before
    assert {status for _, status in list_verdicts()} == {"received"}
    assert not PendingRefresh.objects.exists()
    hearing.process()
    hearing.check()


def test_changes_are_announced_after_they_are_committed(
    hearing: Hearing, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    told: list[tuple[str, str]] = []

    def listen(customer_id: object, **_: Any) -> None:
        [status] = {status for _, status in list_verdicts()}
        told.append((str(customer_id), status))

    customer_changed.connect(listen)
    [key, *_] = hearing.polar.customers
    hearing.polar.update_customer(key, name="Grace")
    hearing.keep(hearing.take_events())
    with django_capture_on_commit_callbacks(execute=True):
        hearing.process()
    customer_changed.disconnect(listen)
    assert told == [(key, "processed")]


def test_number_of_statements_does_not_grow_with_the_batch(hearing: Hearing) -> None:
    def count(customers: int) -> int:
        with hearing.polar.webhooks.silence():
            hearing.polar.generate_customers(customers, seed=customers)
        hearing.run()
        hearing.pass_time(7200)
        chosen = hearing.polar.customers[-customers:]
        for key in chosen:
            hearing.polar.update_customer(key, name="Grace")
        hearing.keep(hearing.take_events()[: customers * 2])
        row = hearing.row
        statements = capture(lambda: sync.process_deliveries(hearing.entry, row))
        assert list_left() == []
        return len(statements)

    few, many = count(5), count(50)
    assert few <= 45
    # SQLite takes 999 parameters a statement, so that bulk statements of wide rows are several there.
    assert many <= few + (0 if connection.vendor == "postgresql" else 20)


# Errors


def test_failure_of_one_customer_keeps_no_other_waiting(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, *others = hearing.polar.customers
    for key in hearing.polar.customers:
        hearing.polar.update_customer(key, name="Grace")
    with monkeypatch.context() as patched:
        fail_for(broken, patched, RuntimeError("who knows"))
        hearing.hear()
    assert {str(each.customer_id) for each in WebhookDelivery.objects.filter(status="received")} == {broken}
    assert {str(each.pk) for each in Customer.objects.filter(name="Grace")} == set(others)
    make_due()
    hearing.process()
    hearing.check()


def test_delivery_that_fails_is_tried_later_and_later_and_ten_times_at_most(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key, *_] = hearing.polar.customers
    hearing.polar.update_customer(key, name="Grace")
    [event, *_] = hearing.take_events()
    fail_for(key, monkeypatch, RuntimeError("private"))
    hearing.keep([event])
    waits = []
    for attempt in range(1, 10):
        before = timezone.now()
        hearing.process()
        delivery = WebhookDelivery.objects.get()
        assert (delivery.status, delivery.attempts) == ("received", attempt)
        assert delivery.next_attempt_at is not None
        waits.append(round((delivery.next_attempt_at - before).total_seconds()))
        assert sync.process_deliveries(hearing.entry, hearing.row) == 0
        make_due()
    assert waits == [2**attempt for attempt in range(1, 10)]
    hearing.process()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.reason) == ("failed", 10, "RuntimeError")
    # What could not be heard is asked for.
    assert str(PendingRefresh.objects.get().customer_id) == key


def test_database_that_is_lost_is_no_failure_of_a_delivery(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    [key, *_] = hearing.polar.customers
    hearing.polar.update_customer(key, name="Grace")
    fail_for(key, monkeypatch, OperationalError("server closed the connection"))
    with pytest.raises(OperationalError):
        hearing.hear()
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {("received", 0)}


def test_customer_of_another_organization_fails_with_the_reason_and_nothing_is_written(hearing: Hearing) -> None:
    [key, *_] = hearing.polar.customers
    hearing.polar.update_customer(key, name="Grace")
    [event, *_] = hearing.take_events()
    before = take_snapshot()
    hearing.hear([change_event(event, organization_id=str(uuid4()))])
    [(_, status, reason)] = list_left()
    assert status == "failed"
    assert "belongs to the Polar organization" in reason
    assert take_snapshot() == before
    assert not PendingRefresh.objects.exists()


def test_customer_that_is_mirrored_for_another_organization_fails_too(hearing: Hearing) -> None:
    [key, *_] = hearing.polar.customers
    other = Organization.objects.create(name="other", polar_id=uuid4(), server="production")
    Customer.objects.filter(pk=key).update(organization_id=other.polar_id)
    hearing.polar.update_customer(key, name="Grace")
    hearing.hear()
    assert {status for _, status, _ in list_left()} == {"failed"}
    assert not Customer.objects.filter(name="Grace").exists()


def test_payload_that_cannot_be_mirrored_fails_and_the_customer_is_asked_for(hearing: Hearing) -> None:
    hearing.polar.subscribe(hearing.polar.customers[0])
    states = [event for event in hearing.take_events() if event.type == "customer.state_changed"]
    hearing.pass_time(60)
    hearing.hear([change_event(states[-1], granted_benefits="none")])
    assert [(kind, status) for kind, status, _ in list_left()] == [("customer.state_changed", "failed")]
    hearing.ask()
    WebhookDelivery.objects.all().delete()
    hearing.check()


def test_failed_deliveries_can_be_processed_again(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    [key, *_] = hearing.polar.customers
    hearing.polar.update_customer(key, name="Grace")
    hearing.keep(hearing.take_events())
    WebhookDelivery.objects.update(status="failed", attempts=10, reason="of before", processed_at=timezone.now())
    assert sync.process_again(WebhookDelivery.objects.all()) == WebhookDelivery.objects.count()
    hearing.process()
    hearing.check()


def test_scrubbed_delivery_is_not_processed_again(hearing: Hearing) -> None:
    hearing.polar.update_customer(hearing.polar.customers[0], name="Grace")
    hearing.hear()
    WebhookDelivery.objects.update(scrubbed_at=timezone.now(), payload="")
    assert sync.process_again(WebhookDelivery.objects.all()) == 0


# An organization that no run has been over yet


def test_organization_is_learned_from_the_first_customer_that_an_event_shows(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    hearing = Hearing(monkeypatch, settings)
    hearing.add_endpoint()
    hearing.polar.create_customer(name="Ada")
    hearing.hear()
    assert str(hearing.row.polar_id) == hearing.polar.organization_id
    hearing.check()


def test_what_comes_before_the_organization_is_known_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    hearing = Hearing(monkeypatch, settings)
    hearing.add_endpoint()
    key = hearing.polar.create_customer(name="Ada")["id"]
    hearing.polar.update_product(hearing.polar.products[0], name="Gold")
    hearing.polar.subscribe(key)
    events = hearing.take_events()
    hearing.hear([event for event in events if event.type.startswith("subscription.")])
    assert {status for _, status in list_verdicts()} <= {"received", "processed", "stale"}
    hearing.keep(events)
    make_due()
    hearing.process()
    hearing.pass_time(60)
    hearing.ask()
    hearing.check()


def test_events_of_two_organizations_under_one_name_teach_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    hearing = Hearing(monkeypatch, settings)
    row = hearing.row
    for organization_id in (str(uuid4()), str(uuid4())):
        data = {"id": str(uuid4()), "organization_id": organization_id}
        keep_body(row, write_event("customer.created", data, at=hearing.now))
    hearing.process()
    assert hearing.row.polar_id is None
    assert not Customer.all_objects.exists()


# Twice, and by others at the same time


def test_delivery_is_kept_once_and_the_body_that_came_first_stays(hearing: Hearing) -> None:
    row = hearing.row
    body = write_event("polar_sync.test", {"number": 1}, at=hearing.now)
    assert keep_body(row, body, webhook_id="one")
    assert not keep_body(row, body.replace("1}", "2}"), webhook_id="one")
    assert WebhookDelivery.objects.get().payload == body


def test_same_id_of_another_organization_is_another_delivery(hearing: Hearing) -> None:
    other = Organization.objects.create(name="other", server="production")
    body = write_event("polar_sync.test", {}, at=hearing.now)
    assert keep_body(hearing.row, body, webhook_id="one")
    assert keep_body(other, body, webhook_id="one")
    hearing.process()
    assert set(WebhookDelivery.objects.values_list("organization__name", "status")) == {
        ("default", "ignored"),
        ("other", "received"),
    }


def test_more_than_a_batch_is_processed_in_the_order_received(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BATCH", 3)
    for number in range(4):
        hearing.pass_time(1)
        hearing.polar.update_customer(hearing.polar.customers[0], name=f"Grace {number}")
    events = hearing.take_events()
    hearing.keep(events)
    row = hearing.row
    sizes = []
    while done := sync.process_deliveries(hearing.entry, row):
        sizes.append(done)
    assert sizes == [3] * (len(events) // 3) + ([len(events) % 3] if len(events) % 3 else [])
    hearing.check()


# A benefit's change


@pytest.fixture
def granted(hearing: Hearing) -> Callable[[], set[str]]:
    """All three customers have the first benefit; its metadata as their grants show them."""
    benefit = hearing.polar.benefits[0]["id"]
    for key in hearing.polar.customers:
        hearing.polar.grant(key, benefit)
    hearing.pass_time(10)
    hearing.hear()
    hearing.pass_time(3600)

    def list_metadata() -> set[str]:
        return {
            str(grant["benefit_metadata"])
            for customer in Customer.objects.with_state()
            for grant in customer.state()["granted_benefits"]
            if grant["benefit_id"] == benefit
        }

    return list_metadata


def test_change_of_a_benefit_reaches_every_grant_in_chunks(
    hearing: Hearing, granted: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.store.benefits._BATCH", 2)
    hearing.polar.update_benefit(hearing.polar.benefits[0]["id"], metadata={"tier": "new"})
    hearing.hear()
    assert granted() == {"{'tier': 'new'}"}
    assert WebhookDelivery.objects.filter(type="benefit.updated").get().status == "processed"


def test_older_change_of_a_benefit_is_stale(hearing: Hearing, granted: Callable[[], set[str]]) -> None:
    benefit = hearing.polar.benefits[0]["id"]
    for tier in ("old", "new"):
        hearing.pass_time(100)
        hearing.polar.update_benefit(benefit, metadata={"tier": tier})
    old, new = [event for event in hearing.take_events() if event.type == "benefit.updated"]
    hearing.hear([new])
    hearing.hear([old])
    assert granted() == {"{'tier': 'new'}"}
    assert [status for kind, status in list_verdicts() if kind == "benefit.updated"] == ["processed", "stale"]


def test_change_of_a_benefit_that_was_broken_off_is_done_again(
    hearing: Hearing, granted: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing.polar.update_benefit(hearing.polar.benefits[0]["id"], metadata={"tier": "new"})
    hearing.keep(hearing.take_events())

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "apply_benefit", fail)
        with pytest.raises(KeyboardInterrupt):
            hearing.process()
    assert WebhookDelivery.objects.get(type="benefit.updated").status == "received"
    make_due()
    hearing.process()
    assert granted() == {"{'tier': 'new'}"}


def test_run_has_the_changes_of_benefits_processed_again_that_were_heard_meanwhile(
    hearing: Hearing, granted: Callable[[], set[str]]
) -> None:
    """The run may have written states that Polar had cached."""
    hearing.polar.update_benefit(hearing.polar.benefits[0]["id"], metadata={"tier": "new"})
    hearing.hear()
    hearing.pass_time(60)
    hearing.run()
    assert WebhookDelivery.objects.get(type="benefit.updated").status == "received"
    make_due()
    hearing.process()
    assert granted() == {"{'tier': 'new'}"}


def test_benefit_without_an_id_fails(hearing: Hearing) -> None:
    keep_body(hearing.row, write_event("benefit.updated", {"metadata": {}}, at=hearing.now))
    hearing.process()
    assert [(kind, status) for kind, status, _ in list_left()] == [("benefit.updated", "failed")]


def test_event_of_a_kept_delivery_is_copied_and_not_altered(hearing: Hearing) -> None:
    """What is kept is what was signed, also where what is known better is put into it."""
    hearing.polar.update_customer(hearing.polar.customers[0], name="Grace")
    events = hearing.take_events()
    hearing.hear(events)
    kept = dict(WebhookDelivery.objects.values_list("webhook_id", "payload"))
    assert kept == {event.id: event.payload for event in map(replace, events)}
