"""How fresh the mirror is, and why it is not where it is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from polar_sync.models import Organization, PendingRefresh, WebhookDelivery, WebhookFeed
from tests.factories import create_organization, make_uuid

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def organization(now: datetime) -> Organization:
    """The last run began six hours ago; what failed to arrive is known until half a minute ago."""
    organization = create_organization()
    organization.complete_as_of = now - 6 * HOUR
    organization.save()
    WebhookFeed.objects.create(
        organization=organization, failed_read_until=now - timedelta(seconds=30), is_enabled=True
    )
    return organization


@pytest.fixture(autouse=True)
def _settled(settings: Settings) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}, "SETTLE_SECONDS": 300}


def change_feed(**columns: Any) -> None:
    WebhookFeed.objects.update(**columns)


def deliver(organization: Organization, *, at: datetime, status: str) -> None:
    WebhookDelivery.objects.create(
        organization=organization, webhook_id=str(at), type="customer.updated", timestamp=at, status=status
    )


def want(organization: Organization, *, since: datetime, due_at: datetime, attempts: int = 0) -> None:
    PendingRefresh.objects.create(
        organization=organization, customer_id=make_uuid(since), since=since, due_at=due_at, attempts=attempts
    )


def test_told_until_is_how_far_the_failed_deliveries_are_known_without_what_is_under_way(
    organization: Organization, now: datetime
) -> None:
    assert organization.told_until == now - timedelta(seconds=330)
    freshness = organization.is_fresh(within=timedelta(minutes=6))
    assert freshness
    assert freshness == (True, now - timedelta(seconds=330), "")
    assert not organization.is_fresh(within=timedelta(minutes=5))


def test_nothing_is_fresh_before_a_run_has_succeeded(organization: Organization) -> None:
    organization.complete_as_of = None
    assert organization.told_until is None
    assert organization.is_fresh(within=24 * HOUR) == (False, None, "No run has succeeded yet.")


def test_without_webhooks_a_run_alone_says_how_fresh_it_is(organization: Organization, now: datetime) -> None:
    WebhookFeed.objects.all().delete()
    assert organization.told_until is None
    assert organization.is_fresh(within=7 * HOUR) == (True, now - 6 * HOUR, "")
    freshness = organization.is_fresh(within=HOUR)
    assert (freshness.is_fresh, freshness.as_of) == (False, now - 6 * HOUR)
    assert "the list of webhook deliveries is not read" in freshness.reason


def test_feed_that_was_never_finished_tells_nothing(organization: Organization) -> None:
    change_feed(failed_read_until=None)
    assert organization.told_until is None


def test_run_that_is_younger_than_what_was_told_counts(organization: Organization, now: datetime) -> None:
    organization.complete_as_of = now - timedelta(seconds=10)
    assert organization.is_fresh(within=timedelta(seconds=60)).as_of == now - timedelta(seconds=10)


@pytest.mark.parametrize("until", [None, timedelta(hours=4), timedelta(hours=1)])
def test_gap_that_no_run_has_closed_bounds_it(
    organization: Organization, now: datetime, until: timedelta | None
) -> None:
    change_feed(gap_since=now - 5 * HOUR, gap_until=now - until if until is not None else None)
    assert organization.told_until == now - 5 * HOUR
    assert not organization.is_fresh(within=HOUR)


def test_gap_that_a_run_has_closed_bounds_it_no_more(organization: Organization, now: datetime) -> None:
    change_feed(gap_since=now - 8 * HOUR, gap_until=now - 7 * HOUR)
    assert organization.is_fresh(within=HOUR)


@pytest.mark.parametrize(
    ("status", "is_bound"),
    [("received", True), ("failed", True), ("processed", False), ("ignored", False), ("stale", False)],
)
def test_what_was_told_and_is_not_in_the_mirror_bounds_it(
    organization: Organization, now: datetime, status: str, is_bound: bool
) -> None:
    deliver(organization, at=now - 2 * HOUR, status=status)
    deliver(organization, at=now - 3 * HOUR, status=status)
    assert (organization.told_until == now - 3 * HOUR) is is_bound
    assert bool(organization.is_fresh(within=HOUR)) is not is_bound


def test_what_failed_before_the_last_run_is_made_good_by_it(organization: Organization, now: datetime) -> None:
    deliver(organization, at=now - 7 * HOUR, status="failed")
    assert organization.is_fresh(within=HOUR)


@pytest.mark.parametrize(
    ("due_in", "attempts", "is_bound"),
    [(timedelta(seconds=-1), 0, True), (timedelta(seconds=40), 0, False), (timedelta(seconds=40), 1, True)],
)
def test_customer_who_is_overdue_bounds_it_and_one_who_is_waited_for_does_not(
    organization: Organization, now: datetime, due_in: timedelta, attempts: int, is_bound: bool
) -> None:
    want(organization, since=now - 2 * HOUR, due_at=now + due_in, attempts=attempts)
    assert (organization.told_until == now - 2 * HOUR) is is_bound


def test_what_other_organizations_wait_for_plays_no_part(organization: Organization, now: datetime) -> None:
    other = create_organization("other", polar_id=make_uuid("other"))
    deliver(other, at=now - 2 * HOUR, status="failed")
    want(other, since=now - 2 * HOUR, due_at=now - HOUR)
    assert organization.is_fresh(within=HOUR)


def test_reason_says_both_times_and_what_keeps_it_back(organization: Organization, now: datetime) -> None:
    change_feed(gap_since=now - 5 * HOUR, is_enabled=False, problem="Polar has disabled the webhook endpoint.")
    reason = organization.is_fresh(within=HOUR).reason
    assert f"began at {now - 6 * HOUR:%Y-%m-%d %H:%M:%S}" in reason
    assert f"known until {now - 5 * HOUR:%Y-%m-%d %H:%M:%S}" in reason
    assert reason.endswith("Polar has disabled the webhook endpoint.")


def test_two_times_take_up_to_four_statements(
    organization: Organization, django_assert_max_num_queries: Any, now: datetime
) -> None:
    deliver(organization, at=now - 2 * HOUR, status="failed")
    with django_assert_max_num_queries(4):
        assert organization.told_until is not None
