"""Polar lists a customer and says, when its state is asked for, that it does not exist: who is right is found out."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncContradiction, SyncPage, SyncRun
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, get_end
from tests.sync.socketless import read_mirror, read_polar

pytestmark = pytest.mark.django_db

STATE = "customers:get_state"
GET = "customers:get"


def deny(polar: FakePolar, *customers: str, times: int | None = None) -> None:
    for customer_id in customers:
        polar.faults.add(Fault(kind="missing", operation=STATE, customer=customer_id, times=times))


def count_deleted() -> int:
    number: int = Customer.all_objects.exclude(deleted_at=None).count()
    return number


@pytest.mark.parametrize("source", ["per_customer", "auto"])
def test_server_that_denies_every_state_has_nobody_marked(
    source: str, polar: FakePolar, run: Run, settings: Settings
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": source}
    polar.generate_customers(50)
    run()
    for customer_id in polar.customers:  # so that the lists alone cannot tell of them either
        polar.update_customer(customer_id, name="Ada")
    polar.faults.add(Fault(kind="missing", operation=STATE, times=None))
    polar.faults.add(Fault(kind="refused", status=400, operation="subscriptions:list", times=None))
    ended = run()
    assert get_end(ended) == ("partial", "mass_deletion")
    assert "50 of 50" in ended.detail
    assert ended.listed == 0
    assert count_deleted() == 0
    polar.faults.clear()
    assert get_end(run()) == ("succeeded", "")
    assert read_mirror() == read_polar(polar)


def test_few_whose_states_are_denied_for_good_are_failures_and_live(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    deny(polar, *polar.customers[:3])
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert (ended.listed, ended.unchanged, ended.failed, ended.deleted) == (20, 17, 3, 0)
    assert all("Polar has this customer" in failure.reason for failure in ended.failures.all())
    assert count_deleted() == 0


def test_customer_whose_state_is_denied_once_gets_it_in_the_confirmation(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    denied = polar.customers[4]
    polar.update_customer(denied, name="Ada")
    deny(polar, denied, times=1)
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.unchanged, ended.updated) == (20, 19, 1)
    assert read_mirror() == read_polar(polar)


def test_unknown_customer_whose_state_is_denied_is_not_lost(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    deny(polar, *polar.customers, times=1)
    ended = run()
    assert (*get_end(ended), ended.created) == ("succeeded", "", 20)
    assert read_mirror() == read_polar(polar)


def test_unknown_customer_deleted_between_list_and_state_is_not_made_up(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    gone = polar.customers[3]
    polar.before(STATE, lambda: polar.delete_customer(gone))
    ended = run()
    assert (*get_end(ended), ended.listed, ended.created) == ("succeeded", "", 19, 19)
    assert read_mirror() == read_polar(polar)
    assert get_end(run()) == ("succeeded", "")


def test_customer_deleted_between_its_confirmation_and_its_state_is_marked_in_that_run(
    polar: FakePolar, run: Run
) -> None:
    polar.generate_customers(20)
    run()
    gone = polar.customers[3]
    deny(polar, gone, times=1)
    polar.before(STATE, lambda: polar.delete_customer(gone), after=19)  # a request that was denied is not counted
    ended = run()
    assert (*get_end(ended), ended.unchanged, ended.deleted) == ("succeeded", "", 19, 1)
    assert read_mirror() == read_polar(polar)


def test_many_deleted_between_list_and_state_count_against_a_mass_deletion(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()

    def delete_many() -> None:
        for customer_id in polar.customers[:8]:
            polar.delete_customer(customer_id)

    polar.before(STATE, delete_many)
    ended = run()
    assert get_end(ended) == ("partial", "mass_deletion")
    assert "8 of 20" in ended.detail
    assert count_deleted() == 0
    ended = run(is_mass_deletion_allowed=True)
    assert (*get_end(ended), ended.deleted) == ("succeeded", "", 8)


def test_run_that_is_killed_before_the_confirmation_still_asks_for_the_denied(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    polar.generate_customers(20)
    run()
    gone, wronged = polar.customers[:2]
    polar.before(STATE, lambda: polar.delete_customer(gone))
    deny(polar, wronged, times=1)
    organization = polar_settings.get_organization("default")
    with monkeypatch.context() as patched, sync.connect(organization) as connection:
        patched.setattr("polar_sync.sync.steps.advance_run", lambda _: 0)
        begun = sync.begin_run(organization)
        sync.take_step(begun.pk, connection)
    assert SyncPage.objects.filter(run=begun, is_done=True).count() == begun.pages.count() == 1
    assert {str(key) for key in begun.contradictions.values_list("customer_id", flat=True)} == {gone, wronged}
    sync.let_go(begun.pk)
    ended = run()
    assert (ended.pk, *get_end(ended)) == (begun.pk, "succeeded", "")
    assert (ended.unchanged, ended.deleted, ended.listed) == (19, 1, 20)
    assert read_mirror() == read_polar(polar)


def test_denied_customer_is_asked_once_a_run_and_counts_as_listed_in_each_pass(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", 10)
    polar.generate_customers(35)
    denied, gone = polar.customers[20], polar.customers[3]
    deny(polar, denied, times=1)
    polar.before("customers:list", lambda: polar.delete_customer(gone), after=2)
    ended = run()
    assert (*get_end(ended), ended.pass_number) == ("succeeded", "", 2)
    assert SyncContradiction.objects.get().pass_number == 2
    asked = [request.path for request in polar.requests if request.operation == STATE and denied in request.path]
    assert len(asked) == 2
    assert {key for key in read_mirror() if key != gone} == set(read_polar(polar))


def test_contradictions_go_with_their_run(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(5)
    deny(polar, polar.customers[0], times=1)
    run()
    assert SyncContradiction.objects.exists()
    SyncRun.objects.all().delete()
    assert not SyncContradiction.objects.exists()
