"""`polar_sync_prune` and what it prints."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from polar_sync.models import Customer, DailyStatistics, SyncRun
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
