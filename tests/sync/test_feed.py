"""Polar's list of deliveries: what did not arrive is found there, nothing is read twice and nothing is lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.dispatch import Signal
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import ConfigurationError, MissingScopeError, PayloadError, PolarSyncError
from polar_sync.models import Customer, Organization, SyncRun, WebhookDelivery, WebhookFeed
from polar_sync.signals import webhook_endpoint_disabled
from polar_sync.testing import Fault
from polar_sync.testing.webhook_rows import Endpoint
from tests.sync.conftest import change_organization
from tests.sync.hearing import ARRIVED, LOST, NOWHERE, Hearing, list_verdicts

pytestmark = pytest.mark.django_db

LIST = "webhooks:list_webhook_deliveries"
GET = "webhooks:get_webhook_endpoint"
CREATED = ["customer.created"]


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    """A server of the present, with one endpoint that hears of new customers, and a run that has succeeded.

    Every event gets a second attempt, which succeeds: else Polar would disable the endpoint.
    """
    hearing = Hearing(monkeypatch, settings, age=timedelta(seconds=60))
    hearing.polar.webhooks.retry_delays = (0.0,)
    monkeypatch.setattr("polar_sync.sync.endpoints.ESSENTIAL_EVENTS", frozenset(CREATED))
    # Who receives nothing has to read everything.
    change_organization(settings, WEBHOOK_SECRETS="whsec_x")
    hearing.entry = polar_settings.get_organization("default")
    hearing.add_endpoint(events=CREATED)
    hearing.pass_time(20)  # a run says nothing of the seconds by which a replica may be behind
    hearing.run()
    hearing.pass_time(30)
    return hearing


def create(hearing: Hearing, *, is_lost: bool = True) -> str:
    """A new customer, of whom Polar tells in vain at first, or at once to a receiver that is somebody else's."""
    answers = iter([LOST, ARRIVED] if is_lost else [ARRIVED])
    hearing.answer = lambda: next(answers)
    hearing.pass_time(0.001)
    key: str = hearing.polar.create_customer(name=f"At {hearing.now}")["id"]
    hearing.polar.webhooks.flush()
    return key


def ask(hearing: Hearing, *, is_whole: bool = False) -> dict[str, int]:
    """The requests of one reading, by operation."""
    hearing.polar.reset_counts()
    hearing.follow(is_whole=is_whole)
    return dict(hearing.polar.counts)


def needs_run(hearing: Hearing) -> bool:
    """Whether a run is needed after another reading, were those that were not begun just now."""
    hearing.follow()
    SyncRun.objects.update(started_at=timezone.now() - timedelta(hours=1))
    return sync.needs_run(hearing.row)


def get_feed() -> WebhookFeed:
    return WebhookFeed.objects.get()


def move_feed(**columns: Any) -> None:
    WebhookFeed.objects.update(**columns)


def list_mirrored() -> set[str]:
    return {str(key) for key in Customer.objects.values_list("pk", flat=True)}


# What is read, and when


def test_what_did_not_arrive_is_found_once(hearing: Hearing) -> None:
    hearing.follow()
    lost = create(hearing)
    assert hearing.follow().kept == 1
    assert list_mirrored() == {lost}
    kept = WebhookDelivery.objects.get()
    assert (kept.via, kept.status, str(kept.customer_id)) == ("feed", "processed", lost)
    assert hearing.follow().kept == 0


def test_what_arrived_is_not_kept_again(hearing: Hearing) -> None:
    create(hearing)
    hearing.hear()
    assert hearing.follow().kept == 0
    assert [each.via for each in WebhookDelivery.objects.all()] == ["webhook"]


def test_reading_of_every_minute_is_one_request_for_what_failed(hearing: Hearing) -> None:
    create(hearing, is_lost=False)
    assert ask(hearing) == {"webhooks:list_webhook_endpoints": 1, LIST: 1}
    create(hearing, is_lost=False)
    assert ask(hearing) == {LIST: 1}
    asked = hearing.polar.requests[-1].query
    assert "succeeded=false" in asked
    assert "start_timestamp=" in asked
    assert f"endpoint_id={hearing.polar.webhooks.endpoints[0].id}" in asked
    # What was delivered is not read again.
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize(
    ("columns", "is_whole"),
    [
        ({"all_read_until": timedelta(hours=23)}, False),
        ({"all_read_until": timedelta(hours=25)}, True),
        ({"finished_at": timedelta(minutes=14)}, False),
        ({"finished_at": timedelta(minutes=16)}, True),
    ],
)
def test_everything_is_read_once_a_day_and_after_a_gap(
    hearing: Hearing, columns: dict[str, timedelta], is_whole: bool
) -> None:
    hearing.follow()
    create(hearing, is_lost=False)
    move_feed(**{name: timezone.now() - age for name, age in columns.items()})
    hearing.follow()
    assert WebhookDelivery.objects.count() == is_whole


def test_everything_is_read_on_demand(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing, is_lost=False)
    assert hearing.follow(is_whole=True).kept == 1


def test_first_reading_begins_where_the_last_run_did_and_without_one_where_polar_does(hearing: Hearing) -> None:
    row = hearing.row
    ask(hearing)
    began = row.complete_as_of
    assert began is not None
    assert (began - timedelta(minutes=1)).strftime("%Y-%m-%dT%H%%3A%M%%3A%S") in hearing.polar.requests[-1].query
    WebhookFeed.objects.all().delete()
    Organization.objects.update(complete_as_of=None)
    ask(hearing)
    assert (timezone.now() - timedelta(days=90)).strftime("%Y-%m-%dT") in hearing.polar.requests[-1].query


def test_attempt_that_surfaces_late_is_found_by_the_next_reading(hearing: Hearing) -> None:
    """Readings overlap: a row can become visible after others that are younger."""
    hearing.follow()
    create(hearing)
    deliveries = hearing.polar.webhooks.deliveries
    late, deliveries[:] = deliveries[:], []
    hearing.pass_time(20)
    assert hearing.follow().kept == 0
    deliveries += late
    hearing.pass_time(20)
    assert hearing.follow().kept == 1


def test_event_whose_first_attempt_failed_and_whose_second_did_not_is_kept_once(hearing: Hearing) -> None:
    create(hearing)
    result = hearing.follow(is_whole=True)
    assert (result.kept, len(hearing.polar.webhooks.deliveries)) == (1, 2)


def test_event_that_cannot_be_read_is_kept_as_failed_and_keeps_no_other_away(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing)
    hearing.polar.webhooks.events[-1].payload = '{"text": "a note for Slack\u0000"}'
    good = create(hearing)
    hearing.follow()
    assert list_verdicts() == [("customer.created", "failed"), ("customer.created", "processed")]
    assert list_mirrored() == {good}


def test_what_other_endpoints_were_sent_is_not_read(hearing: Hearing) -> None:
    hearing.follow()
    hearing.polar.webhooks.add_endpoint(NOWHERE, format="slack", events=CREATED)
    create(hearing)
    assert hearing.follow().kept == 1


# Pages


def test_pages_with_attempts_of_one_microsecond_lose_none(hearing: Hearing) -> None:
    """Walking back by time alone would go round for ever, or pass over what shares the moment."""
    hearing.follow()
    for _ in range(290):
        create(hearing)
    failed = [each for each in hearing.polar.webhooks.deliveries if not each.succeeded]
    for delivery in failed[30:260]:
        delivery.created_at = failed[30].created_at
    result = hearing.follow()
    assert (result.kept, len(list_mirrored())) == (290, 290)
    assert result.pages <= 6


def test_attempts_made_while_pages_are_read_are_left_to_the_next_reading_and_shift_none(hearing: Hearing) -> None:
    hearing.follow()
    keys = {create(hearing) for _ in range(250)}
    hearing.polar.before(LIST, lambda: keys.update(create(hearing) for _ in range(7)), times=2, after=1)
    hearing.follow()
    hearing.follow()
    assert len(keys) == 264
    assert list_mirrored() == keys


class KilledError(BaseException):
    """The process ends here."""


def kill() -> None:
    raise KilledError


def test_reading_that_was_killed_leaves_the_lease_to_expire_and_is_gone_on_with(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing.follow()
    keys = {create(hearing) for _ in range(250)}
    hearing.pass_time(90)
    before = get_feed()
    hearing.polar.before(LIST, kill, after=2)
    with monkeypatch.context() as patched:
        patched.setattr("polar_sync.sync.feed._FeedReader.release", lambda _: None)
        with pytest.raises(KilledError):
            hearing.follow()
    left = get_feed()
    assert (left.failed_read_until, left.all_read_until) == (before.failed_read_until, before.all_read_until)
    assert left.cursor is not None
    assert not hearing.follow().is_finished
    move_feed(leased_until=timezone.now() - timedelta(seconds=1))
    hearing.pass_time(5)
    result = hearing.follow()
    # One page of that window, and one of what came since.
    assert (result.is_finished, result.pages) == (True, 2)
    assert list_mirrored() == keys
    done = get_feed()
    assert (done.cursor, done.window_start, done.window_began_at) == (None, None, None)
    assert done.failed_read_until is not None
    assert left.window_began_at is not None
    assert done.failed_read_until > left.window_began_at


def test_whole_reading_that_is_wanted_does_not_go_on_with_one_of_what_failed(hearing: Hearing) -> None:
    hearing.follow()
    keys = {create(hearing) for _ in range(150)} | {create(hearing, is_lost=False)}
    hearing.polar.before(LIST, kill, after=1)
    with pytest.raises(KilledError):
        hearing.follow()
    hearing.follow(is_whole=True)
    assert list_mirrored() == keys


def test_list_that_counts_what_it_does_not_show_is_no_end(hearing: Hearing) -> None:
    hearing.follow()
    before = get_feed().failed_read_until
    body = {"items": [], "pagination": {"total_count": 5, "max_page": 1}}
    hearing.polar.faults.add(Fault(kind="malformed", operation=LIST, body=body))
    with pytest.raises(PayloadError):
        hearing.follow()
    assert get_feed().failed_read_until == before


# What keeps it from being read


@pytest.mark.parametrize("kind", ["unauthorized", "server_error", "bare_404", "cut", "truncate", "malformed"])
def test_error_is_told_and_moves_no_watermark(hearing: Hearing, kind: Any) -> None:
    hearing.follow()
    lost = create(hearing)
    before = get_feed()
    fault = hearing.polar.faults.add(Fault(kind=kind, operation=LIST, times=None))
    hearing.pass_time(20)
    with pytest.raises(PolarSyncError):
        hearing.follow()
    left = get_feed()
    assert left.problem
    assert (left.failed_read_until, left.all_read_until, left.finished_at, left.lease_token) == (
        before.failed_read_until,
        before.all_read_until,
        before.finished_at,
        None,
    )
    hearing.polar.faults.remove(fault)
    hearing.follow()
    assert get_feed().problem == ""
    assert list_mirrored() == {lost}


def test_scope_that_was_taken_away_is_told_and_what_arrived_is_processed_all_the_same(
    hearing: Hearing, settings: Settings
) -> None:
    hearing.follow()
    change_organization(settings, ACCESS_TOKEN=hearing.polar.create_token(["customers:read"]))
    hearing.entry = polar_settings.get_organization("default")
    create(hearing)
    hearing.keep(hearing.take_events())
    with pytest.raises(MissingScopeError):
        hearing.follow()
    assert "webhooks:read" in get_feed().problem
    assert list_verdicts() == [("customer.created", "processed")]


def test_budget_that_is_used_up_leaves_the_rest_to_the_next_reading(hearing: Hearing) -> None:
    hearing.follow()
    keys = {create(hearing) for _ in range(150)}
    hearing.polar.faults.add(Fault(kind="rate_limit", operation=LIST, after=1, retry_after=1))
    with sync.connect(hearing.entry, max_wait=0) as connection, pytest.raises(PolarSyncError):
        sync.follow(hearing.entry, connection)
    assert len(list_mirrored()) == 100
    hearing.follow()
    assert list_mirrored() == keys


def test_two_readers_at_once_read_it_once(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing)
    results: list[Any] = []
    hearing.polar.before(LIST, lambda: results.append(hearing.follow()))
    results.append(hearing.follow())
    assert [(each.is_finished, each.kept, each.pages) for each in results] == [(False, 0, 0), (True, 1, 1)]


def test_reader_that_was_too_slow_writes_nothing_over_the_one_that_took_over(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing)
    hearing.pass_time(20)

    def take_over() -> None:
        move_feed(leased_until=timezone.now() - timedelta(seconds=1))
        hearing.follow()
        hearing.pass_time(20)

    hearing.polar.before(LIST, take_over)
    slow = hearing.follow()
    assert not slow.is_finished
    feed = get_feed()
    assert (feed.window_start, feed.cursor, feed.lease_token) == (None, None, None)
    assert WebhookDelivery.objects.count() == 1


# Which endpoint


def test_several_endpoints_are_a_configuration_error_that_says_what_to_do(hearing: Hearing) -> None:
    hearing.add_endpoint()
    with pytest.raises(ConfigurationError, match=r"2 webhook endpoints.*polar_sync_webhook.*WEBHOOK_ENDPOINT_ID"):
        hearing.follow()
    assert "WEBHOOK_ENDPOINT_ID" in get_feed().problem


def test_no_endpoint_is_a_configuration_error_too(hearing: Hearing) -> None:
    hearing.polar.webhooks.delete_endpoint(hearing.polar.webhooks.endpoints[0])
    with pytest.raises(ConfigurationError, match="0 webhook endpoints"):
        hearing.follow()


def test_configured_one_of_several_endpoints_is_read(hearing: Hearing, settings: Settings) -> None:
    own = hearing.add_endpoint(events=CREATED)
    change_organization(settings, WEBHOOK_ENDPOINT_ID=own.id)
    hearing.entry = polar_settings.get_organization("default")
    create(hearing)
    assert hearing.follow().kept == 1
    assert (str(get_feed().endpoint_id), get_feed().endpoint_url) == (own.id, own.url)


def test_endpoint_that_is_gone_is_a_configuration_error(hearing: Hearing) -> None:
    hearing.follow()
    hearing.polar.webhooks.delete_endpoint(hearing.polar.webhooks.endpoints[0])
    move_feed(checked_at=timezone.now() - timedelta(minutes=11))
    with pytest.raises(ConfigurationError, match="not on Polar any more"):
        hearing.follow()


def test_endpoint_is_looked_at_every_ten_minutes_and_when_something_failed(hearing: Hearing) -> None:
    hearing.follow()
    assert ask(hearing) == {LIST: 1}
    move_feed(checked_at=timezone.now() - timedelta(minutes=11))
    assert ask(hearing) == {GET: 1, LIST: 1}
    create(hearing)
    assert ask(hearing)[GET] == 1


# An endpoint that Polar has disabled


@pytest.fixture
def heard() -> Any:
    """What listeners of the signal were told."""
    told: list[Any] = []

    def listen(signal: Signal, **given: Any) -> None:
        told.append((given["organization"].name, given["problem"]))

    webhook_endpoint_disabled.connect(listen)
    yield told
    webhook_endpoint_disabled.disconnect(listen)


def disable(hearing: Hearing) -> Endpoint:
    [endpoint] = hearing.polar.webhooks.endpoints
    hearing.polar.webhooks.update_endpoint(endpoint, enabled=False)
    move_feed(checked_at=timezone.now() - timedelta(minutes=11))
    return endpoint


def test_disabled_endpoint_is_told_once_and_is_a_gap_since_it_was_last_seen_enabled(
    hearing: Hearing, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    hearing.follow()
    seen = get_feed().failed_read_until
    endpoint = disable(hearing)
    checked = get_feed().checked_at
    assert needs_run(hearing)
    feed = get_feed()
    # And what Polar had not sent by then it has dropped.
    since = min(time for time in (checked, seen) if time is not None) - timedelta(minutes=5)
    assert (feed.is_enabled, feed.gap_since, feed.gap_until) == (False, since, None)
    [(name, problem)] = heard
    assert (name, problem) == ("default", feed.problem)
    assert endpoint.url in problem
    assert "polar_sync_webhook" in problem
    assert [record.levelname for record in caplog.records if problem in record.getMessage()] == ["ERROR"]
    for _ in range(2):
        hearing.follow()
    assert len(heard) == 1
    assert get_feed().gap_since == feed.gap_since
    assert get_feed().problem == problem


def test_gap_lasts_until_a_run_has_begun_after_the_endpoint_was_enabled(hearing: Hearing, heard: list[Any]) -> None:
    hearing.follow()
    endpoint = disable(hearing)
    hearing.follow()
    hearing.run()
    assert not get_feed().is_gap_closed(hearing.row.complete_as_of)
    hearing.polar.webhooks.update_endpoint(endpoint, enabled=True)
    hearing.pass_time(30)
    assert needs_run(hearing)
    feed = get_feed()
    assert feed.gap_until is not None
    assert (feed.is_enabled, feed.problem) == (True, "")
    hearing.pass_time(30)
    hearing.run()
    assert get_feed().is_gap_closed(hearing.row.complete_as_of)
    assert not needs_run(hearing)
    disable(hearing)
    hearing.follow()
    assert len(heard) == 2


def test_endpoint_is_enabled_again_where_the_settings_allow_it(
    hearing: Hearing, heard: list[Any], settings: Settings
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ENABLE_WEBHOOK_ENDPOINT": True}
    hearing.follow()
    endpoint = disable(hearing)
    with hearing.polar.webhooks.silence():
        hearing.polar.create_customer()
    assert needs_run(hearing)
    assert endpoint.enabled
    assert len(heard) == 1
    feed = get_feed()
    assert (feed.is_enabled, feed.problem) == (True, "")
    assert feed.gap_until is not None


def test_endpoint_is_left_disabled_where_the_settings_do_not_allow_it(hearing: Hearing) -> None:
    hearing.follow()
    endpoint = disable(hearing)
    hearing.follow()
    assert not endpoint.enabled
    assert hearing.polar.counts["webhooks:update_webhook_endpoint"] == 0


# What Polar has archived


def test_archived_event_needs_a_run(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing)
    hearing.polar.webhooks.archive(hearing.polar.webhooks.events[-1].id)
    hearing.pass_time(20)
    assert needs_run(hearing)
    kept = WebhookDelivery.objects.get()
    assert (kept.status, kept.payload) == ("failed", "")
    assert "archived" in kept.reason
    feed = get_feed()
    assert feed.gap_since == kept.timestamp
    assert not feed.is_gap_closed(hearing.row.complete_as_of)


def test_archived_event_that_arrived_before_or_that_a_run_has_made_good_needs_none(hearing: Hearing) -> None:
    hearing.follow()
    create(hearing)
    hearing.hear()
    hearing.polar.webhooks.archive(hearing.polar.webhooks.events[-1].id)
    assert not needs_run(hearing)
    create(hearing)
    hearing.polar.webhooks.archive(hearing.polar.webhooks.events[-1].id)
    hearing.pass_time(20)
    hearing.run()
    assert not needs_run(hearing)


def test_feed_of_another_endpoint_begins_anew_and_a_run_is_needed(hearing: Hearing) -> None:
    """What changed between the last run and its creation made no event for it."""
    hearing.follow()
    own = hearing.add_endpoint(events=CREATED)
    hearing.pass_time(20)
    sync.note_endpoint(hearing.entry, UUID(own.id), url=own.url)
    create(hearing)
    assert hearing.follow().kept == 1
    feed = get_feed()
    assert (str(feed.endpoint_id), feed.gap_until) == (own.id, own.created_at)
    assert needs_run(hearing)


def test_endpoint_that_lacks_an_event_is_a_gap_and_says_which(hearing: Hearing, heard: list[Any]) -> None:
    hearing.follow()
    [endpoint] = hearing.polar.webhooks.endpoints
    hearing.polar.webhooks.update_endpoint(endpoint, events=("customer.updated",))
    move_feed(checked_at=timezone.now() - timedelta(minutes=11))
    hearing.follow()
    [(_, problem)] = heard
    assert "customer.created" in problem
    assert (get_feed().problem, get_feed().gap_until) == (problem, None)


def test_times_of_the_feed_are_polars(hearing: Hearing) -> None:
    hearing.now -= timedelta(minutes=5)
    hearing.follow()
    read_until = get_feed().failed_read_until
    assert isinstance(read_until, datetime)
    assert abs(read_until - hearing.now) < timedelta(seconds=2)
