"""What proves that a pass over the list has seen everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncRun
from polar_sync.testing import FakePolar
from tests.sync.socketless import read_mirror, serve

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def test_customer_whom_the_replica_lacked_when_the_run_began_hides_no_deletion(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """One goes and one comes between two pages, so that the totals agree; the one who came was created before."""
    monkeypatch.setattr("polar_sync.sync.windows.PAGE_SIZE", 10)
    polar = FakePolar(seed=1, clock=lambda: NOW + timedelta(seconds=2 * polar.counts["customers:list"]))
    ids = [polar.create_customer(created_at=LONG_AGO + timedelta(hours=hour))["id"] for hour in range(25)]
    serve(polar, monkeypatch, settings, STATE_SOURCE="per_customer")

    def catch_up() -> None:
        polar.delete_customer(ids[3])
        polar.create_customer(created_at=NOW - timedelta(seconds=4))

    polar.before("customers:list", catch_up, after=1)
    ended = run_once()
    assert (ended.status, ended.pass_number) == ("succeeded", 2)
    assert not set(polar.customers) - read_mirror().keys()


def test_list_of_one_page_is_complete_whoever_was_created_just_before(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    polar = FakePolar(seed=1, clock=lambda: NOW)
    for seconds in (3600, 2, 1):
        polar.create_customer(created_at=NOW - timedelta(seconds=seconds))
    serve(polar, monkeypatch, settings, STATE_SOURCE="per_customer")
    ended = run_once()
    assert (ended.status, ended.pass_number, polar.counts["customers:list"]) == ("succeeded", 1, 1)


def test_customer_who_seems_to_be_created_since_the_run_began_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Our own clock is a minute behind, and a new process has not learned so yet."""
    polar = FakePolar(seed=1, clock=lambda: NOW)
    ids = [polar.create_customer(created_at=NOW - timedelta(seconds=seconds))["id"] for seconds in (3600, 10)]
    serve(polar, monkeypatch, settings, STATE_SOURCE="per_customer")
    monkeypatch.setattr("polar_sync.client.clock.get_own_time", lambda: NOW - timedelta(minutes=1))
    run_once()
    polar.delete_customer(ids[1])
    ended = run_once()
    assert (ended.status, ended.deleted) == ("succeeded", 1)
    assert read_mirror().keys() == {ids[0]}


def run_once() -> SyncRun:
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as connection:
        return sync.work_in_foreground(sync.begin_run(organization), connection)
