"""`polar_sync_prune` and what it prints."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from polar_sync.models import Customer, DailyStatistics, Organization, SyncRun, WebhookDelivery
from polar_sync.testing import FakePolarServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def deleted_customer(polar_server: FakePolarServer) -> str:
    """Deleted 40 days ago, and found out by a run of then; another lives."""
    polar = polar_server.polar
    polar.create_customer(name="Grace")
    customer_id: str = polar.create_customer(name="Ada", email="ada@example.com")["id"]
    call_command("polar_sync", stdout=StringIO())
    polar.delete_customer(customer_id)
    polar.clock_offset += timedelta(seconds=10)
    call_command("polar_sync", stdout=StringIO())
    long_ago = timezone.now() - timedelta(days=40)
    assert Customer.all_objects.filter(pk=customer_id).exclude(deleted_at=None).update(deleted_at=long_ago) == 1
    return customer_id


def describe(*, runs: int = 0, statistics: int = 0, action: str = "keep", customers: int = 0) -> str:
    removed = f"{runs} runs, {statistics} daily statistics and 0 webhook deliveries removed"
    return f"{removed}; deleted customers: {action}, {customers} of them now.\n"


def prune() -> str:
    output = StringIO()
    call_command("polar_sync_prune", stdout=output)
    return output.getvalue()


def configure(settings: Settings, **keys: object) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, **keys}


def test_everything_is_kept_by_default(deleted_customer: str) -> None:
    assert prune() == describe(runs=0, statistics=0, action="keep", customers=0)
    assert Customer.all_objects.count() == 2
    assert SyncRun.objects.count() == 2


def test_old_runs_are_removed_and_running_ones_are_not(deleted_customer: str) -> None:
    long_ago = timezone.now() - timedelta(days=91)
    SyncRun.objects.update(started_at=long_ago, finished_at=long_ago)
    organization = SyncRun.objects.all()[0].organization
    running = SyncRun.objects.create(organization=organization, started_at=long_ago)
    assert prune() == describe(runs=2, statistics=0, action="keep", customers=0)
    assert list(SyncRun.objects.all()) == [running]


def test_deleted_customers_are_scrubbed_once(deleted_customer: str, settings: Settings) -> None:
    configure(settings, DELETED_CUSTOMERS="scrub")
    assert prune() == describe(runs=0, statistics=0, action="scrub", customers=1)
    customer = Customer.all_objects.get(pk=deleted_customer)
    assert (customer.name, customer.email) == (None, None)
    assert "Ada" not in customer.payload
    assert prune() == describe(runs=0, statistics=0, action="scrub", customers=0)
    assert Customer.objects.get().name == "Grace"


def test_deleted_customers_are_removed(deleted_customer: str, settings: Settings) -> None:
    configure(settings, DELETED_CUSTOMERS="delete")
    assert prune() == describe(runs=0, statistics=0, action="delete", customers=1)
    assert Customer.all_objects.get().name == "Grace"


def test_those_deleted_lately_are_left_alone(deleted_customer: str, settings: Settings) -> None:
    configure(settings, DELETED_CUSTOMERS="delete", DELETED_CUSTOMERS_AFTER_DAYS=41)
    assert prune() == describe(runs=0, statistics=0, action="delete", customers=0)
    assert Customer.all_objects.count() == 2


def test_wrong_setting_exits_with_2(polar_server: FakePolarServer, settings: Settings) -> None:
    configure(settings, DELETED_CUSTOMERS="burn")
    with pytest.raises(CommandError) as caught:
        prune()
    assert caught.value.returncode == 2
    assert "DELETED_CUSTOMERS" in str(caught.value)


def test_old_statistics_are_removed(deleted_customer: str, settings: Settings) -> None:
    configure(settings, KEEP_STATISTICS_DAYS=30)
    DailyStatistics.objects.update(date=timezone.localdate() - timedelta(days=31))
    assert prune() == describe(runs=0, statistics=1, action="keep", customers=0)
    assert not DailyStatistics.objects.exists()


def deliver(organization: Organization, *, days: float, status: str, customer_id: str | None = None) -> WebhookDelivery:
    return WebhookDelivery.objects.create(
        organization=organization,
        webhook_id=f"{status} {days} {customer_id}",
        type="customer.updated",
        timestamp=timezone.now(),
        received_at=timezone.now() - timedelta(days=days),
        status=status,
        customer_id=customer_id,
        payload='{"name": "Ada"}',
    )


def test_old_deliveries_are_removed_and_those_that_wait_are_not(deleted_customer: str) -> None:
    organization = Organization.objects.get()
    for status in ("processed", "failed", "stale", "ignored"):
        deliver(organization, days=91, status=status)
    kept = {deliver(organization, days=89, status="processed"), deliver(organization, days=91, status="received")}
    assert "4 webhook deliveries removed" in prune()
    assert set(WebhookDelivery.objects.all()) == kept


@pytest.mark.parametrize("action", ["scrub", "delete"])
def test_what_webhooks_said_of_a_customer_goes_with_them(
    deleted_customer: str, settings: Settings, action: str
) -> None:
    configure(settings, DELETED_CUSTOMERS=action)
    organization, other = Organization.objects.get(), str(Customer.objects.get().pk)
    own = deliver(organization, days=3, status="processed", customer_id=deleted_customer)
    others = deliver(organization, days=3, status="processed", customer_id=other)
    prune()
    own.refresh_from_db()
    others.refresh_from_db()
    assert (own.payload, own.scrubbed_at is not None, own.status) == ("", True, "processed")
    assert (others.payload, others.scrubbed_at) == ('{"name": "Ada"}', None)


def test_what_webhooks_said_after_a_customer_was_scrubbed_is_scrubbed_the_next_time(
    deleted_customer: str, settings: Settings
) -> None:
    configure(settings, DELETED_CUSTOMERS="scrub")
    prune()
    late = deliver(Organization.objects.get(), days=0, status="stale", customer_id=deleted_customer)
    waiting = deliver(Organization.objects.get(), days=0, status="received", customer_id=deleted_customer)
    prune()
    late.refresh_from_db()
    waiting.refresh_from_db()
    assert late.payload == ""
    assert waiting.payload != ""
