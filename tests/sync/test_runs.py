"""The life of a run, from phase to phase."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import RunActiveError
from polar_sync.models import Customer, Organization, SyncPage, SyncRun
from polar_sync.sync import Progress
from polar_sync.sync.runs import note_wait
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, change_organization, get_end
from tests.sync.socketless import count_asked, read_mirror, read_polar

pytestmark = pytest.mark.django_db


def begin_run(**options: Any) -> SyncRun:
    return sync.begin_run(polar_settings.get_organization("default"), **options)


def take_steps(run: SyncRun, number: int) -> None:
    with sync.connect(polar_settings.get_organization("default")) as opened:
        for _ in range(number):
            assert sync.take_step(run.pk, opened).progress is Progress.DONE


def expire(run: SyncRun, *, seconds: float = 3600) -> None:
    """As if nobody had worked on the run for a while."""
    past = timezone.now() - timedelta(seconds=seconds)
    SyncRun.objects.filter(pk=run.pk).update(heartbeat_at=past)
    SyncPage.objects.filter(run=run, is_done=False).exclude(leased_until=None).update(leased_until=past)


def test_second_run_is_refused_while_one_is_worked_on(polar: FakePolar) -> None:
    begun = begin_run()
    with pytest.raises(RunActiveError) as caught:
        begin_run()
    assert caught.value.run_id == begun.pk
    assert "60 seconds" in str(caught.value)
    assert SyncRun.objects.count() == 1


def test_run_with_a_live_lease_is_not_abandoned_though_its_heartbeat_is_old(polar: FakePolar) -> None:
    begun = begin_run()
    expire(begun)
    page = SyncPage.objects.get()
    SyncPage.objects.filter(pk=page.pk).update(leased_until=timezone.now() + timedelta(seconds=30))
    SyncRun.objects.update(heartbeat_at=None)
    with pytest.raises(RunActiveError):
        begin_run()


def test_run_that_waits_for_the_budget_is_not_abandoned(polar: FakePolar) -> None:
    begun = begin_run()
    note_wait(begun.pk, 300)
    expire(begun)
    with pytest.raises(RunActiveError):
        begin_run()


def test_abandoned_run_is_continued_without_asking_again(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(250)
    begun = begin_run()
    take_steps(begun, 2)
    expire(begun)
    polar.reset_counts()
    ended = run()
    assert ended.pk == begun.pk
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.created) == (250, 250)
    assert count_asked(polar) == (1, 50)
    assert read_mirror() == read_polar(polar)


def test_abandoned_run_older_than_a_day_is_closed_as_failed(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(5)
    begun = begin_run()
    expire(begun)
    SyncRun.objects.filter(pk=begun.pk).update(started_at=timezone.now() - timedelta(hours=24, minutes=1))
    ended = run()
    assert ended.pk != begun.pk
    assert get_end(ended) == ("succeeded", "")
    begun.refresh_from_db()
    assert get_end(begun) == ("failed", "abandoned")
    assert begun.finished_at is not None
    assert "RUN_MAX_AGE_HOURS" in begun.detail


def test_run_older_than_a_day_that_is_worked_on_goes_on(polar: FakePolar) -> None:
    begun = begin_run()
    SyncRun.objects.update(started_at=timezone.now() - timedelta(hours=25))
    with pytest.raises(RunActiveError):
        begin_run()
    begun.refresh_from_db()
    assert begun.is_running


def test_permission_for_a_mass_deletion_is_kept_when_a_run_is_continued(polar: FakePolar) -> None:
    begun = begin_run(is_mass_deletion_allowed=True)
    expire(begun)
    assert begin_run().is_mass_deletion_allowed


def test_work_for_a_run_that_has_ended_is_not_written(polar: FakePolar) -> None:
    """The run is ended while its page is under way."""
    polar.generate_customers(5)
    begun = begin_run()
    ended = threading.Event()
    with sync.connect(polar_settings.get_organization("default")) as opened:
        fetch = opened.per_customer.fetch

        def fetch_and_end(customers: Any, *, on_tick: Any) -> Any:
            yield from fetch(customers, on_tick=on_tick)
            sync.finish_run(begun.pk, SyncRun.Status.FAILED, reason="cancelled")
            ended.set()

        opened.per_customer = type("Source", (), {"fetch": staticmethod(fetch_and_end)})()
        step = sync.take_step(begun.pk, opened)
    assert ended.is_set()
    assert step.progress is Progress.ENDED
    begun.refresh_from_db()
    assert get_end(begun) == ("failed", "cancelled")
    assert begun.listed == 0
    assert not Customer.all_objects.exists()


def test_success_is_noted_at_the_organization_and_nothing_else_is(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3)
    token = polar.access_token
    run()
    organization = Organization.objects.get()
    noted = organization.last_succeeded_at
    assert noted is not None
    assert str(organization.polar_id) == polar.organization_id
    polar.revoke_token(token)
    assert run().status == "failed"
    organization.refresh_from_db()
    assert organization.last_succeeded_at == noted


@pytest.mark.django_db(transaction=True)
def test_of_two_runs_begun_at_once_one_is_refused(polar: FakePolar) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def begin() -> None:
        try:
            barrier.wait(timeout=10)
            outcomes.append(f"run {begin_run().pk}")
        except RunActiveError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:3] == ["refused"] * 3
    assert SyncRun.objects.count() == 1


def delete_customers(polar: FakePolar, number: int) -> None:
    for customer_id in polar.customers[:number]:
        polar.delete_customer(customer_id)


def test_customer_missing_from_the_list_is_marked_deleted_after_confirmation(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    delete_customers(polar, 4)
    polar.reset_counts()
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.deleted, ended.unchanged, ended.listed) == (4, 16, 20)
    # The second listing is of one customer: whether the token still shows this organization.
    assert count_asked(polar) == (2, 16)
    assert polar.counts["customers:get"] == 4
    assert ended.requests == len(polar.requests)
    assert read_mirror() == read_polar(polar)
    buried = Customer.all_objects.exclude(deleted_at=None)
    assert buried.count() == 4
    for customer in buried:
        state = customer.state()
        assert (state["active_subscriptions"], state["granted_benefits"], state["active_meters"]) == ([], [], [])


@pytest.mark.parametrize("customers", [0, 3])
def test_run_that_is_continued_with_a_token_of_another_organization_marks_nobody(
    customers: int, polar: FakePolar, run: Run, settings: Settings
) -> None:
    """It was left while it asked about the unseen, and to this token all of them are unknown."""
    polar.generate_customers(20)
    run()
    hidden = polar.get_customer(polar.customers[0])
    items = [polar.get_customer(key) for key in polar.customers if key != hidden["id"]]
    answer = {"items": items, "pagination": {"total_count": 19, "max_page": 1}}
    polar.faults.add(Fault(kind="malformed", operation="customers:list", body=answer, times=1))
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as connection:
        begun = sync.begin_run(organization)
        sync.take_step(begun.pk, connection)
    assert begun.pages.filter(kind="confirm", is_done=False).count() == 1
    sync.let_go(begun.pk)
    change_organization(settings, ACCESS_TOKEN=polar.add_organization(customers=customers, seed=9).access_token)
    ended = run()
    assert (ended.pk, *get_end(ended)) == (begun.pk, "failed", "organization_mismatch")
    assert Customer.objects.count() == 20


def test_living_customer_that_the_list_leaves_out_is_refreshed_and_not_marked(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    hidden = polar.get_customer(polar.customers[0])
    items = [polar.get_customer(key) for key in polar.customers if key != hidden["id"]]
    polar.update_customer(hidden["id"], name="Ada")
    answer = {"items": items, "pagination": {"total_count": 19, "max_page": 1}}
    polar.faults.add(Fault(kind="malformed", operation="customers:list", body=answer, times=None))
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.updated, ended.unchanged, ended.deleted) == (1, 19, 0)
    assert Customer.objects.get(pk=hidden["id"]).name == "Ada"


def test_mass_deletion_is_refused_without_asking_about_anybody(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    delete_customers(polar, 5)
    polar.reset_counts()
    ended = run()
    assert get_end(ended) == ("partial", "mass_deletion")
    assert "5 of 20" in ended.detail
    assert "--allow-mass-deletion" in ended.detail
    assert (ended.deleted, ended.unchanged) == (0, 15)
    assert polar.counts["customers:get_state"] == 15
    assert Customer.objects.count() == 20


def test_mass_deletion_goes_on_where_it_is_allowed(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    delete_customers(polar, 19)
    ended = run(is_mass_deletion_allowed=True)
    assert get_end(ended) == ("succeeded", "")
    assert (ended.deleted, ended.unchanged) == (19, 1)
    assert read_mirror() == read_polar(polar)


def test_deletion_of_all_goes_on_where_it_is_allowed(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    delete_customers(polar, 20)
    assert get_end(run(is_mass_deletion_allowed=True)) == ("succeeded", "")
    assert not Customer.objects.exists()


@pytest.mark.parametrize(("customers", "end"), [(10, "succeeded"), (11, "partial")])
def test_ten_customers_or_fewer_are_no_mass(customers: int, end: str, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(customers)
    run()
    delete_customers(polar, customers - 1)
    ended = run()
    assert ended.status == end
    assert Customer.objects.count() == (1 if end == "succeeded" else customers)


def test_confirmations_are_asked_for_in_pages(polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polar_sync.sync.completeness.CONFIRM_SIZE", 3)
    polar.generate_customers(20)
    run()
    delete_customers(polar, 8)
    ended = run(is_mass_deletion_allowed=True)
    assert get_end(ended) == ("succeeded", "")
    assert ended.deleted == 8
    assert [len(page.customer_ids) for page in ended.pages.filter(kind="confirm").order_by("number")] == [3, 3, 2]


def test_customers_of_another_organization_are_not_asked_about(polar: FakePolar, run: Run, settings: Settings) -> None:
    polar.generate_customers(5)
    run()
    other = polar.add_organization(customers=6, seed=3)
    entries = settings.POLAR_SYNC["ORGANIZATIONS"]
    settings.POLAR_SYNC["ORGANIZATIONS"] = {
        "first": entries["default"],
        "default": {**entries["default"], "ACCESS_TOKEN": other.access_token},
    }
    Organization.objects.update(name="first")
    polar.reset_counts()
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert ended.listed == ended.created == 6
    assert not polar.requests
    assert Customer.objects.count() == 11
