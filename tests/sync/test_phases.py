"""Who is asked about after the listing, and when so many missing customers are not believed."""

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, Organization
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, change_organization, get_end
from tests.sync.socketless import count_asked, read_mirror, read_polar

pytestmark = pytest.mark.django_db


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
