"""The requests that following Polar's list of deliveries takes, as the README states them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from polar_sync import sync, tasks
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Organization, SyncRun, WebhookFeed
from polar_sync.sync.connections import close_worker_connections
from polar_sync.sync.feed import CHECK_EVERY
from polar_sync.testing import FakePolar
from polar_sync.testing.sender import Response
from tests.services import PROJECT
from tests.sync.conftest import change_organization
from tests.sync.socketless import serve

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
READING, CHECK = "webhooks:list_webhook_deliveries", "webhooks:get_webhook_endpoint"


class Clock:
    """The one time of all, Polar's and ours, but for the database's."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time

    def follow(self, minutes: int) -> None:
        for _ in range(minutes):
            self.time += MINUTE
            tasks.follow("default")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock.now)
    return clock


@pytest.fixture
def polar(clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[FakePolar]:
    """A server whose organization was mirrored a while ago, and is followed since."""
    close_worker_connections()
    polar = FakePolar.generate(seed=1, customers=5, clock=clock.now)
    serve(polar, monkeypatch, settings)
    # Without a secret nothing is received here, and all deliveries are read every minute.
    change_organization(settings, WEBHOOK_SECRETS="whsec_of_somebody")
    polar.webhooks.sender.is_background = False
    polar.webhooks.post = lambda *_: Response(200, None)
    polar.webhooks.add_endpoint("https://example.com/polar/webhooks/default/")
    clock.time += MINUTE
    entry = polar_settings.get_organization("default")
    with sync.connect(entry) as connection:
        sync.work_in_foreground(sync.begin_run(entry), connection)
    # The database's time stands still meanwhile.
    SyncRun.objects.update(started_at=clock.time - timedelta(hours=1), began_at=clock.time - timedelta(hours=1))
    tasks.follow("default")
    polar.reset_counts()
    yield polar
    close_worker_connections()
    assert SyncRun.objects.count() == 1, "a run was started that nothing needs"


def test_quiet_hour_is_sixty_readings_and_some_looks_at_the_endpoint(clock: Clock, polar: FakePolar) -> None:
    clock.follow(60)
    assert polar.counts == Counter({READING: 60, CHECK: 15})
    assert Organization.objects.get().told_until == WebhookFeed.objects.get().failed_read_until - timedelta(minutes=5)  # type: ignore[operator]


def test_deliveries_that_succeeded_are_read_once_a_day_a_hundred_at_a_time(clock: Clock, polar: FakePolar) -> None:
    key = polar.customers[0]
    for number in range(125):
        clock.time += timedelta(milliseconds=1)
        polar.update_customer(key, name=f"Name {number}")
    polar.webhooks.flush()
    assert len(polar.webhooks.deliveries) == 250
    clock.follow(10)
    assert polar.counts == Counter({READING: 10, CHECK: 2})
    WebhookFeed.objects.update(all_read_until=WebhookFeed.objects.get().all_read_until - timedelta(days=1))  # type: ignore[operator]
    clock.follow(10)
    assert polar.counts == Counter({READING: 10 + 2 + 10, CHECK: 5})


def test_readme_states_what_a_day_takes() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert f"{DAY // MINUTE:,} + {DAY // CHECK_EVERY:,} a day" in readme
