"""Keeping up: what was read is processed, who is due is asked about, and a run closes what events cannot tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import PolarSyncError
from polar_sync.models import PendingRefresh, SyncRun, WebhookFeed
from polar_sync.testing import Fault
from tests.sync.conftest import change_organization
from tests.sync.hearing import Hearing, list_verdicts

pytestmark = pytest.mark.django_db


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    """A server of a minute ago, an endpoint that hears of everything, and a run that has succeeded."""
    hearing = Hearing(monkeypatch, settings, age=timedelta(minutes=1))
    hearing.add_endpoint()
    hearing.run()
    hearing.pass_time(20)
    return hearing


def begin_needed_run(hearing: Hearing) -> SyncRun | None:
    return sync.begin_needed_run(hearing.entry, hearing.row)


def set_gap(hearing: Hearing, *, since: float, until: float | None) -> None:
    """A gap, by seconds ago."""
    now = timezone.now()
    WebhookFeed.objects.update_or_create(
        organization=hearing.row,
        defaults={
            "gap_since": now - timedelta(seconds=since),
            "gap_until": now - timedelta(seconds=until) if until is not None else None,
        },
    )


def age_runs(seconds: float) -> None:
    SyncRun.objects.update(started_at=timezone.now() - timedelta(seconds=seconds))


def test_event_that_got_lost_is_read_processed_and_asked_about(hearing: Hearing) -> None:
    hearing.answer = lambda: None
    with hearing.polar.webhooks.silence():
        key = hearing.polar.create_customer(name="Ada")["id"]
    hearing.polar.subscribe(key)
    hearing.polar.webhooks.flush()
    hearing.pass_time(1)
    hearing.follow()
    hearing.ask()
    hearing.check()


def test_what_arrived_is_processed_where_the_list_cannot_be_read(hearing: Hearing) -> None:
    hearing.polar.create_customer()
    hearing.keep(hearing.take_events())
    hearing.polar.faults.add(Fault(kind="server_error", operation="webhooks:list_webhook_deliveries", times=None))
    with pytest.raises(PolarSyncError):
        hearing.follow()
    assert {status for _, status in list_verdicts()} == {"processed"}


def test_who_is_due_is_asked_about_and_who_is_not_is_not(hearing: Hearing) -> None:
    with hearing.polar.webhooks.silence():
        keys = [hearing.polar.create_customer(name=name)["id"] for name in ("Ada", "Grace")]
    for key, seconds in zip(keys, (-1, 60), strict=True):
        PendingRefresh.objects.create(
            organization=hearing.row,
            customer_id=key,
            since=hearing.now,
            due_at=timezone.now() + timedelta(seconds=seconds),
        )
    hearing.follow()
    assert [str(row.customer_id) for row in PendingRefresh.objects.all()] == keys[1:]


def test_webhooks_are_known_from_the_settings_or_from_the_feed(hearing: Hearing, settings: Settings) -> None:
    assert not sync.has_webhooks(hearing.entry)
    hearing.follow()
    assert sync.has_webhooks(hearing.entry)


@pytest.mark.parametrize(
    "keys", [{"WEBHOOK_SECRETS": "whsec_x"}, {"WEBHOOK_ENDPOINT_ID": "b72565a2-d0df-417c-af91-e3c5e0504832"}]
)
def test_webhooks_are_known_from_either_setting(hearing: Hearing, settings: Settings, keys: dict[str, Any]) -> None:
    change_organization(settings, **keys)
    assert sync.has_webhooks(polar_settings.get_organization("default"))


# The run that closes a gap


def test_no_run_is_started_where_nothing_is_missing(hearing: Hearing) -> None:
    age_runs(3600)
    assert begin_needed_run(hearing) is None
    hearing.follow()
    assert begin_needed_run(hearing) is None


def test_gap_that_has_ended_is_closed_by_a_run(hearing: Hearing) -> None:
    age_runs(3600)
    set_gap(hearing, since=600, until=30)
    hearing.pass_time(60)
    assert begin_needed_run(hearing) is not None
    # It is under way.
    assert begin_needed_run(hearing) is None


def test_run_waits_until_replicas_show_what_was_before_the_end_of_the_gap(hearing: Hearing) -> None:
    age_runs(3600)
    set_gap(hearing, since=600, until=3)
    assert begin_needed_run(hearing) is None
    assert timedelta(seconds=6) < sync.get_run_delay(hearing.row) <= timedelta(seconds=7)


def test_run_that_failed_is_tried_again_after_a_quarter_of_an_hour(hearing: Hearing) -> None:
    set_gap(hearing, since=7200, until=3600)
    hearing.row.save()
    run = SyncRun.objects.get()
    type(hearing.row).objects.update(complete_as_of=timezone.now() - timedelta(hours=3))
    SyncRun.objects.filter(pk=run.pk).update(status="failed", started_at=timezone.now() - timedelta(minutes=14))
    assert begin_needed_run(hearing) is None
    age_runs(16 * 60)
    assert begin_needed_run(hearing) is not None


def test_one_run_is_started_while_the_endpoint_is_disabled(hearing: Hearing) -> None:
    age_runs(3600)
    set_gap(hearing, since=1800, until=None)
    run = begin_needed_run(hearing)
    assert run is not None
    sync.finish_run(run.pk, "succeeded")
    SyncRun.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(minutes=20))
    assert begin_needed_run(hearing) is None


def test_gap_that_a_run_has_closed_needs_no_other(hearing: Hearing) -> None:
    set_gap(hearing, since=7200, until=3600)
    age_runs(1800)
    assert hearing.row.complete_as_of is not None
    assert begin_needed_run(hearing) is None
