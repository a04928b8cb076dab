"""Celery's part: what is queued, when, and for whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import Retry
from django.db import OperationalError, connection
from django.db.models import Value
from django.db.models.functions import Replace
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from polar_sync import sync, tasks
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import NotFoundError
from polar_sync.models import (
    Customer,
    PendingRefresh,
    SyncPage,
    SyncRun,
    Verification,
    WebhookDelivery,
    WebhookFeed,
)
from polar_sync.sync.connections import close_worker_connections
from polar_sync.testing import FakePolar, FakePolarServer, Fault
from polar_sync.testing.sender import Response
from tests.sync.socketless import check_counts, count_asked, read_mirror, read_polar

pytestmark = pytest.mark.django_db(transaction=True)


class Broker:
    """Keeps messages in order and delivers them one after the other, countdown or not."""

    def __init__(self) -> None:
        self.messages: deque[tuple[Any, tuple[Any, ...], dict[str, Any]]] = deque()
        self.countdowns: list[float] = []
        self.retries: list[int] = []

    def send(
        self,
        task: Any,
        args: Any = None,
        kwargs: Any = None,
        *,
        countdown: float | None = None,
        retries: int = 0,
        **_: Any,
    ) -> None:
        self.retries.append(retries)
        self.messages.append((task, tuple(args or ()), dict(kwargs or {})))
        if countdown is not None:
            self.countdowns.append(countdown)

    def deliver(self, *, most: int = 1000) -> None:
        """Run what is queued, and what that queues."""
        for _ in range(most):
            if not self.messages:
                return
            task, args, kwargs = self.messages.popleft()
            task(*args, **kwargs)
        raise AssertionError("messages without end")

    def get_names(self) -> list[str]:
        return [task.name for task, _, _ in self.messages]


def make_sender(broker: Broker) -> Any:
    def send(task: Any, *args: Any, **options: Any) -> None:
        broker.send(task, *args, **options)

    return send


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    broker = Broker()
    monkeypatch.setattr("celery.app.task.Task.apply_async", make_sender(broker))
    yield broker
    close_worker_connections()


@pytest.fixture
def polar(polar_server: FakePolarServer, settings: Settings) -> FakePolar:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "per_customer"}
    return polar_server.polar


def expire() -> None:
    """As if every worker had been silent for an hour."""
    past = timezone.now() - timedelta(hours=1)
    SyncRun.objects.update(heartbeat_at=past)
    SyncPage.objects.exclude(leased_until=None).update(leased_until=past)


def test_organization_is_mirrored_page_by_page(polar: FakePolar, broker: Broker) -> None:
    polar.generate_customers(350)
    tasks.sync_organization("default")
    assert broker.get_names() == ["polar_sync.sync_pages"] * 4
    broker.deliver()
    run = SyncRun.objects.get()
    check_counts(run)
    assert (run.status, run.listed, run.requests) == ("succeeded", 350, len(polar.requests))
    assert count_asked(polar) == (4, 350)
    assert read_mirror() == read_polar(polar)


def test_first_page_puts_all_workers_to_work_and_no_more(polar: FakePolar, broker: Broker, settings: Settings) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WORKERS": 3}
    polar.generate_customers(350)
    tasks.sync_organization("default")
    broker.messages.clear()
    tasks.sync_pages(SyncRun.objects.get().pk)
    assert broker.get_names() == ["polar_sync.sync_pages"] * 3


def test_second_run_is_refused_without_a_message(polar: FakePolar, broker: Broker) -> None:
    tasks.sync_organization("default")
    broker.messages.clear()
    tasks.sync_organization("default")
    assert not broker.messages
    assert SyncRun.objects.count() == 1


def test_worker_beyond_the_allowed_number_takes_no_page(polar: FakePolar, broker: Broker, settings: Settings) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WORKERS": 1}
    polar.generate_customers(250)
    tasks.sync_organization("default")
    broker.messages.clear()
    run = SyncRun.objects.get()
    tasks.sync_pages(run.pk)
    SyncPage.objects.filter(number=2).update(leased_until=timezone.now() + timedelta(seconds=30), lease_token=uuid4())
    broker.messages.clear()
    polar.reset_counts()
    tasks.sync_pages(run.pk)
    assert not broker.messages
    assert not polar.requests


def test_message_for_a_run_that_has_ended_or_is_gone_does_nothing(polar: FakePolar, broker: Broker) -> None:
    tasks.sync_organization("default")
    run = SyncRun.objects.get()
    sync.finish_run(run.pk, SyncRun.Status.FAILED, reason="cancelled")
    broker.deliver()
    tasks.sync_pages(run.pk + 1)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("failed", "cancelled")
    assert not polar.requests


def test_long_wait_goes_back_to_the_broker_with_jitter(polar: FakePolar, broker: Broker) -> None:
    polar.generate_customers(20)
    polar.faults.add(Fault(kind="rate_limit", operation="customers:get_state", after=10, retry_after=30, times=1))
    tasks.sync_organization("default")
    broker.messages = deque([broker.messages[0]])
    task, args, _ = broker.messages.popleft()
    task(*args)
    (countdown,) = broker.countdowns
    assert 25 < countdown <= 36
    assert broker.get_names() == ["polar_sync.sync_pages"]
    run = SyncRun.objects.get()
    assert run.waiting_until is not None
    assert run.created == Customer.objects.count() >= 10
    assert SyncPage.objects.get().lease_token is None
    tasks.resume_runs()
    assert broker.get_names() == ["polar_sync.sync_pages"]  # a run that waits on purpose lacks nobody


def test_run_of_an_organization_that_left_the_settings_fails(
    polar: FakePolar, broker: Broker, settings: Settings
) -> None:
    tasks.sync_organization("default")
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {}}
    broker.deliver()
    run = SyncRun.objects.get()
    assert (run.status, run.reason) == ("failed", "configuration")


def test_settings_that_no_connection_can_be_made_with_fail_the_run(
    polar: FakePolar, broker: Broker, settings: Settings
) -> None:
    tasks.sync_organization("default")
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "THROTTLE_STORAGE": "memcached://127.0.0.1:1"}
    broker.deliver()
    run = SyncRun.objects.get()
    assert (run.status, run.reason) == ("failed", "configuration")


def test_lost_messages_are_made_up_for(polar: FakePolar, broker: Broker) -> None:
    polar.generate_customers(250)
    tasks.sync_organization("default")
    task, args, _ = broker.messages.popleft()
    task(*args)
    broker.messages.clear()  # every worker was killed
    expire()
    tasks.resume_runs()
    assert broker.get_names() == ["polar_sync.sync_pages"] * 4
    broker.deliver()
    run = SyncRun.objects.get()
    check_counts(run)
    assert (run.status, run.created) == ("succeeded", 250)
    assert count_asked(polar) == (3, 250)


def test_run_that_nobody_ended_is_ended(polar: FakePolar, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last worker died after the last page."""
    polar.generate_customers(5)
    tasks.sync_organization("default")
    with monkeypatch.context() as patched:
        patched.setattr("polar_sync.sync.steps.advance_run", lambda _: 0)
        task, args, _ = broker.messages.popleft()
        task(*args)
    broker.messages.clear()
    expire()
    tasks.resume_runs()
    broker.deliver()
    assert SyncRun.objects.get().status == "succeeded"


def test_resuming_puts_a_missing_worker_back_once(polar: FakePolar, broker: Broker) -> None:
    polar.generate_customers(250)
    tasks.sync_organization("default")
    task, args, _ = broker.messages.popleft()
    task(*args)
    broker.messages.clear()
    future = timezone.now() + timedelta(seconds=30)
    SyncPage.objects.filter(number=2).update(leased_until=future, lease_token=uuid4())
    tasks.resume_runs()
    assert broker.get_names() == ["polar_sync.sync_pages"]


def test_resuming_closes_what_is_too_old(polar: FakePolar, broker: Broker) -> None:
    tasks.sync_organization("default")
    broker.messages.clear()
    expire()
    SyncRun.objects.update(started_at=timezone.now() - timedelta(hours=25))
    tasks.resume_runs()
    run = SyncRun.objects.get()
    assert (run.status, run.reason) == ("failed", "abandoned")
    assert not broker.messages


def test_run_that_cannot_be_resumed_costs_the_others_nothing(
    polar: FakePolar, broker: Broker, settings: Settings
) -> None:
    other = polar.add_organization(seed=7, customers=4)
    entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
    entries = {"default": entry, "other": {**entry, "ACCESS_TOKEN": other.access_token}}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": entries}
    for name in entries:
        tasks.sync_organization(name)
    broker.messages.clear()
    expire()
    broken: list[str] = []

    def break_once(execute: Any, sql: str, *args: Any) -> Any:
        if not broken and sql.startswith("UPDATE"):
            broken.append(sql)
            raise OperationalError("the server closed the connection")
        return execute(sql, *args)

    with connection.execute_wrapper(break_once), pytest.raises(ExceptionGroup, match="1 could not be done"):
        tasks.resume_runs()
    assert broker.get_names() == ["polar_sync.sync_pages"] * 4
    tasks.resume_runs()
    assert {args for _, args, _ in broker.messages} == {(run.pk,) for run in SyncRun.objects.all()}


def test_customer_that_cannot_be_queued_costs_the_others_nothing(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(task: Any, args: Any, **options: Any) -> None:
        if args[1] == "b":
            raise OSError("the broker is away")
        broker.send(task, args)

    monkeypatch.setattr("celery.app.task.Task.apply_async", send)
    with pytest.raises(ExceptionGroup, match="1 could not be done"):
        tasks.refresh_customers("default", ["a", "b", "c"])
    assert [args for _, args, _ in broker.messages] == [("default", "a"), ("default", "c")]


def test_customer_is_refreshed(polar: FakePolar, broker: Broker) -> None:
    customer = polar.create_customer(name="Ada")
    tasks.refresh_customer("default", customer["id"])
    assert Customer.objects.get().name == "Ada"


def test_refresh_tries_again_after_trouble_that_passes(polar: FakePolar, broker: Broker) -> None:
    customer = polar.create_customer()
    polar.faults.add(Fault(kind="cut", times=4))
    with pytest.raises(Retry):
        tasks.refresh_customer.apply(args=("default", customer["id"]), throw=True)
    assert not Customer.all_objects.exists()


def test_hour_that_polar_asks_to_wait_is_waited_for_in_messages_of_less_than_a_quarter(
    polar: FakePolar, broker: Broker
) -> None:
    polar.generate_customers(50)
    tasks.sync_organization("default")
    del broker.messages[1], broker.messages[1], broker.messages[1]
    polar.faults.add(Fault(kind="rate_limit", retry_after=3600))
    for _ in range(3):
        task, args, _ = broker.messages.popleft()
        task(*args)
        assert broker.get_names() == ["polar_sync.sync_pages"]
    assert len(polar.requests) == 1
    assert [840 <= countdown < 900 for countdown in broker.countdowns] == [True] * 3
    assert SyncRun.objects.get().status == "running"


def test_refresh_waits_as_long_as_polar_asks_and_that_counts_as_no_failed_try(polar: FakePolar, broker: Broker) -> None:
    customer = polar.create_customer()
    polar.faults.add(Fault(kind="rate_limit", retry_after=3600))
    with pytest.raises(Retry):
        tasks.refresh_customer.apply(args=("default", customer["id"]), throw=True)
    broker.messages.clear()
    for _ in range(12):
        tasks.refresh_customer.apply(args=("default", customer["id"]), retries=8, throw=True)
    assert len(polar.requests) == 1
    assert [args for _, args, _ in broker.messages] == [("default", customer["id"])] * 12
    assert broker.retries[-12:] == [8] * 12
    assert all(840 <= countdown < 900 for countdown in broker.countdowns)


def test_refresh_does_not_try_again_what_cannot_succeed(polar: FakePolar, broker: Broker) -> None:
    with pytest.raises(NotFoundError):
        tasks.refresh_customer("default", str(uuid4()))
    assert len(polar.requests) == 1


@pytest.mark.django_db
def test_messages_go_out_after_commit(
    polar: FakePolar, broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        tasks.sync_organization("default")
        assert not broker.messages
    for callback in callbacks:
        callback()
    assert len(broker.messages) == 4


def test_verification_is_kept_and_says_what_differs(
    polar: FakePolar, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    polar.generate_customers(40)
    tasks.sync_organization("default")
    broker.deliver()
    polar.clock_offset += timedelta(hours=3)
    tasks.verify_organization("default", 30)
    kept = Verification.objects.get()
    assert (kept.checked, kept.differing, kept.is_equal) == (30, 0, True)
    assert "differed" not in caplog.text
    Customer.objects.update(payload=Replace("payload", Value('"locale":null'), Value('"locale":"xx"')))
    tasks.verify_organization("default", 1000)
    kept.refresh_from_db()
    assert (kept.checked, kept.is_equal) == (40, False)
    assert 0 < kept.counts["customer"] == kept.differing < 40
    assert f"{kept.differing} of 40 differed" in caplog.text
    tasks.verify_organization("default", 1000, is_repairing=True)
    kept.refresh_from_db()
    assert kept.is_equal
    assert kept.repaired == kept.differing


def test_verification_goes_on_in_another_message_where_the_budget_is_used_up(
    polar: FakePolar, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    polar.generate_customers(40)
    tasks.sync_organization("default")
    broker.deliver()
    polar.clock_offset += timedelta(hours=3)
    polar.reset_counts()
    polar.faults.add(Fault(kind="rate_limit", operation="customers:get_state", after=10, retry_after=1, times=1))
    close_worker_connections()
    with monkeypatch.context() as patch:
        patch.setattr("polar_sync.sync.connections.WORKER_PATIENCE", 0.0)
        tasks.verify_organization("default", 40)
    close_worker_connections()
    assert broker.get_names() == ["polar_sync.verify_organization"]
    assert not Verification.objects.exists()
    broker.deliver()
    assert Verification.objects.get().checked == 40
    assert count_asked(polar)[1] <= 40 + 8, "nobody is asked about twice but those under way"


# Webhooks


@pytest.fixture
def heard(polar: FakePolar, broker: Broker) -> FakePolar:
    """A server with an endpoint whose deliveries fail, and a mirror of nobody that a run has just made."""
    polar.webhooks.sender.is_background = False
    polar.webhooks.retry_delays = ()
    polar.webhooks.post = lambda *_: Response(503, None)
    polar.webhooks.add_endpoint("http://127.0.0.1:9/")
    polar.clock_offset += timedelta(seconds=20)
    tasks.sync_organization("default")
    broker.deliver()
    return polar


def keep_all(polar: FakePolar) -> None:
    row = sync.get_organization_row(polar_settings.get_organization("default"))
    for event in polar.webhooks.events:
        assert event.payload is not None
        sync.keep_delivery(row, webhook_id=event.id, body=event.payload, event=sync.read_event(event.payload))


def test_kept_deliveries_are_processed_and_who_is_due_is_asked_about(heard: FakePolar, broker: Broker) -> None:
    key = heard.create_customer(name="Ada")["id"]
    keep_all(heard)
    due = timezone.now() - timedelta(seconds=1)
    row = sync.get_organization_row(polar_settings.get_organization("default"))
    PendingRefresh.objects.create(organization=row, customer_id=key, since=timezone.now(), due_at=due)
    tasks.process_deliveries("default")
    assert not WebhookDelivery.objects.filter(status="received").exists()
    assert not PendingRefresh.objects.exists()
    assert read_mirror() == read_polar(heard)


def test_error_of_polar_leaves_who_is_due_to_the_next_minute(heard: FakePolar, broker: Broker) -> None:
    key = heard.create_customer(name="Ada")["id"]
    row = sync.get_organization_row(polar_settings.get_organization("default"))
    due = timezone.now() - timedelta(seconds=1)
    PendingRefresh.objects.create(organization=row, customer_id=key, since=timezone.now(), due_at=due)
    heard.faults.add(Fault(kind="unauthorized", times=None))
    tasks.process_deliveries("default")
    assert PendingRefresh.objects.count() == 1
    heard.faults.clear()
    tasks.follow("default")
    assert not PendingRefresh.objects.exists()
    assert read_mirror() == read_polar(heard)


def test_organizations_with_webhooks_are_followed_by_a_message_each(
    heard: FakePolar, broker: Broker, settings: Settings
) -> None:
    entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
    organizations = {
        "default": {**entry, "WEBHOOK_SECRETS": "whsec_x"},
        "silent": {**entry, "ACCESS_TOKEN": "polar_oat_other"},
    }
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": organizations}
    tasks.follow()
    assert [(task.name, args) for task, args, _ in broker.messages] == [("polar_sync.follow", ("default",))]


def test_following_reads_what_did_not_arrive_and_starts_no_run_that_is_not_needed(
    heard: FakePolar, broker: Broker
) -> None:
    SyncRun.objects.update(started_at=timezone.now() - timedelta(hours=1))
    heard.create_customer(name="Ada")
    heard.webhooks.flush()
    tasks.follow("default")
    assert Customer.objects.get().name == "Ada"
    assert SyncRun.objects.count() == 1
    assert not broker.messages


def test_endpoint_that_polar_disabled_is_followed_by_a_run(heard: FakePolar, broker: Broker) -> None:
    tasks.follow("default")
    [endpoint] = heard.webhooks.endpoints
    heard.webhooks.update_endpoint(endpoint, enabled=False)
    heard.create_customer(name="Untold")
    WebhookFeed.objects.update(checked_at=None)
    SyncRun.objects.update(started_at=timezone.now() - timedelta(hours=1))
    tasks.follow("default")
    broker.deliver()
    assert SyncRun.objects.count() == 2
    assert Customer.objects.get().name == "Untold"
