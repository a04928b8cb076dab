"""Which runs leave the statistics of their day behind."""

from __future__ import annotations

import pytest

from polar_sync.models import DailyStatistics, SyncRun
from polar_sync.sync.runs import finish_run
from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.sync.conftest import Run, get_end

pytestmark = pytest.mark.django_db


def test_run_that_succeeds_leaves_the_days_statistics(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3, seed=1)
    run()
    assert DailyStatistics.objects.get().customers == 3
    polar.create_customer(name="Ada")
    ended = run()
    day = DailyStatistics.objects.get()
    assert (day.customers, day.organization_id) == (4, ended.organization_id)


def test_run_that_mirrored_a_part_leaves_none(polar: FakePolar, run: Run) -> None:
    key = polar.create_customer(name="Ada")["id"]
    polar.faults.add(Fault(kind="malformed", customer=key, body={"id": "?"}, times=None))
    assert get_end(run()) == ("partial", "customers_failed")
    assert not DailyStatistics.objects.exists()


def test_run_that_was_cancelled_leaves_none_when_it_is_ended_again(polar: FakePolar, run: Run) -> None:
    ended = run()
    DailyStatistics.objects.all().delete()
    assert not finish_run(ended.pk, SyncRun.Status.SUCCEEDED)
    assert not DailyStatistics.objects.exists()
