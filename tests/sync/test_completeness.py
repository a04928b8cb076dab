"""Whether a pass over a moving list saw everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncRun
from polar_sync.sync import completeness
from polar_sync.sync.completeness import find_last_number, get_window
from polar_sync.testing import FakePolar
from tests.sync.socketless import read_mirror, serve


def test_first_pass_takes_whole_pages() -> None:
    assert [get_window(number, pass_number=1) for number in (1, 2, 500)] == [(1, 100), (2, 100), (500, 100)]
    assert (get_window(3, pass_number=1).start, get_window(3, pass_number=1).end) == (200, 300)


def test_windows_of_a_walk_overlap_by_a_fifth_of_a_page_from_the_first_customer_on() -> None:
    found = [get_window(number, pass_number=2) for number in range(1, find_last_number(200_000) + 1)]
    assert found[0].start == 0
    assert found[-1].end >= 200_000
    assert all(1 <= window.limit <= 100 and window.page >= 1 for window in found)
    assert all(before.end - 20 >= after.start for before, after in pairwise(found))
    assert all(before.end < after.end for before, after in pairwise(found))


def test_walk_asks_for_less_than_twice_the_pages() -> None:
    assert find_last_number(100_000) < 2 * 1_000


@pytest.mark.parametrize("size", range(1, 30))
def test_small_windows_leave_no_gap_however_little_they_can_overlap(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completeness, "PAGE_SIZE", size)
    found = [get_window(number, pass_number=2) for number in range(1, 60)]
    assert all(before.end >= after.start for before, after in pairwise(found))
    assert all(before.end < after.end for before, after in pairwise(found))


def test_walk_begins_where_the_list_ended() -> None:
    assert find_last_number(1) == 1
    assert find_last_number(100) == 1
    assert find_last_number(101) == 2


pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def test_customer_whom_the_replica_lacked_when_the_run_began_hides_no_deletion(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """One goes and one comes between two pages, so that the totals agree; the one who came was created before."""
    monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", 10)
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
