"""What Polar's cached states leave open: they are up to an hour old, and the lists are never cached."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.admin.run_page import has_failures_left
from polar_sync.conf import settings as polar_settings
from polar_sync.models import BenefitGrant, Customer, Subscription, SyncRun
from polar_sync.store import Outcome, apply, observe_customer
from polar_sync.testing import FakePolar, Fault
from tests.factories import build_grant, build_subscription
from tests.sync.conftest import Run, get_end
from tests.sync.socketless import read_mirror, read_polar

pytestmark = pytest.mark.django_db

LISTS = ("subscriptions:list", "benefit-grants:list", "customer-meters:list")
HELD = {"active_subscriptions": [build_subscription("s")], "granted_benefits": [build_grant("g")]}
NOTHING: dict[str, Any] = {"active_subscriptions": [], "granted_benefits": []}


def replace(polar: FakePolar, customer_id: str, children: dict[str, Any]) -> None:
    polar.replace_state(customer_id, {**polar.get_state(customer_id), "active_meters": [], **children})


def cancel(polar: FakePolar, customer_id: str) -> None:
    """What the first customer has ends: the lists keep it, as ended."""
    replace(polar, customer_id, NOTHING)
    ended = polar.now().isoformat()
    polar.set_other_subscriptions(customer_id, [build_subscription("s", status="canceled", modified_at=ended)])
    polar.set_other_grants(customer_id, [build_grant("g", modified_at=ended, is_granted=False)])


def refresh(customer_id: str) -> Outcome:
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as opened:
        return sync.refresh_customer(organization, UUID(customer_id), opened)


def count_held() -> tuple[int, int]:
    return Subscription.objects.count(), BenefitGrant.objects.count()


def count_lists(polar: FakePolar) -> list[int]:
    return [polar.counts.get(name, 0) for name in LISTS]


@pytest.fixture
def customers(polar: FakePolar) -> list[str]:
    """Five of them, the first with a subscription and a grant."""
    ids = [polar.create_customer(external_id=f"usr_{number}")["id"] for number in range(5)]
    replace(polar, ids[0], HELD)
    return ids


@pytest.mark.parametrize(("before", "after", "held"), [(HELD, NOTHING, (0, 0)), (NOTHING, HELD, (1, 1))])
def test_state_that_differs_from_the_mirror_is_decided_by_the_lists(
    polar: FakePolar, customers: list[str], run: Run, before: Any, after: Any, held: tuple[int, int]
) -> None:
    replace(polar, customers[0], before)
    run()
    replace(polar, customers[0], after)
    assert refresh(customers[0]) == Outcome.UPDATED
    assert count_held() == held
    assert count_lists(polar) == [1, 1, 1]


def test_cached_state_does_not_undo_what_the_lists_told(
    polar: FakePolar, customers: list[str], run: Run, settings: Settings
) -> None:
    """As after a cancellation, while Polar's queue is long: one refresh by lists, then states of before."""
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "batched"}
    run()
    polar.hold_states()
    cancel(polar, customers[0])
    run()
    assert count_held() == (0, 0)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "per_customer"}
    assert refresh(customers[0]) == Outcome.UNCHANGED
    assert get_end(run()) == ("succeeded", "")
    assert count_held() == (0, 0)


def test_write_is_not_undone_by_the_state_of_before_it(polar: FakePolar, customers: list[str], run: Run) -> None:
    run()
    polar.hold_states()
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as opened:
        written = opened.client.customers.update(customers[0], name="New")
    row = SyncRun.objects.all()[0].organization
    apply([observe_customer(written, interval=written.interval, is_written=True)], organization=row)
    refresh(customers[0])
    assert get_end(run()) == ("succeeded", "")
    assert Customer.objects.get(pk=customers[0]).name == "New"


def test_unresolved_customers_of_a_page_take_three_requests_together(
    polar: FakePolar, customers: list[str], run: Run
) -> None:
    run()
    for customer_id in customers:
        replace(polar, customer_id, HELD if customer_id != customers[0] else NOTHING)
    for number, customer_id in enumerate(customers[1:]):
        held = {
            "active_subscriptions": [build_subscription(f"s{number}")],
            "granted_benefits": [build_grant(f"g{number}")],
        }
        replace(polar, customer_id, held)
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.updated, ended.unchanged) == (5, 0)
    assert count_lists(polar) == [1, 1, 1]
    assert read_mirror() == read_polar(polar)


def test_equal_states_take_no_further_request(polar: FakePolar, customers: list[str], run: Run) -> None:
    run()
    run()
    refresh(customers[0])
    assert count_lists(polar) == [0, 0, 0]


def test_without_scopes_for_the_lists_the_later_request_decides(
    polar: FakePolar, customers: list[str], run: Run, settings: Settings
) -> None:
    token = polar.create_token(["customers:read"])
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "ACCESS_TOKEN": token}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"default": entry}}
    run()
    replace(polar, customers[0], NOTHING)
    assert refresh(customers[0]) == Outcome.UPDATED
    assert count_held() == (0, 0)
    new = polar.now().isoformat()
    subscribed = {
        "active_subscriptions": [build_subscription("t", created_at=new)],
        "granted_benefits": [build_grant("h", created_at=new)],
    }
    replace(polar, customers[0], subscribed)
    assert get_end(run()) == ("succeeded", "")
    assert count_held() == (1, 1)


def test_new_fields_of_a_state_survive_a_decision_of_the_lists(
    polar: FakePolar, customers: list[str], run: Run
) -> None:
    polar.add_field("subscription", "colour", "blue")
    run()
    renewed = [build_subscription("s"), build_subscription("t")]
    replace(polar, customers[0], {**HELD, "active_subscriptions": renewed})
    refresh(customers[0])
    assert {row.to_polar()["colour"] for row in Subscription.objects.all()} == {"blue"}
    assert Subscription.objects.count() == 2


FALSE: dict[str, Any] = {"kind": "grant", "name": "properties", "value": {"false": 1}, "where": "lists"}
ONLY_IN_STATES: dict[str, Any] = {"kind": "grant", "name": "added", "value": 1, "where": "states"}


@pytest.mark.parametrize("field", [FALSE, ONLY_IN_STATES])
def test_object_that_a_state_shows_is_as_it_shows_it_though_lists_decide(
    polar: FakePolar, customers: list[str], run: Run, field: dict[str, Any]
) -> None:
    polar.add_field(**field)
    run()
    replace(polar, customers[0], {"granted_benefits": [build_grant("g"), build_grant("h")]})
    assert refresh(customers[0]) == Outcome.UPDATED
    assert count_lists(polar) == [1, 1, 1]
    assert read_mirror() == read_polar(polar)


@pytest.mark.parametrize("field", [FALSE, ONLY_IN_STATES])
def test_object_that_only_lists_told_of_is_corrected_by_the_first_state_that_shows_it(
    polar: FakePolar, customers: list[str], run: Run, field: dict[str, Any]
) -> None:
    polar.add_field(**field)
    run()
    replace(polar, customers[0], NOTHING)
    polar.hold_states()
    replace(polar, customers[0], {"granted_benefits": [build_grant("g"), build_grant("h")]})
    refresh(customers[0])
    assert count_held() == (0, 2)
    polar.renew_states()
    assert get_end(run()) == ("succeeded", "")
    assert read_mirror() == read_polar(polar)


def test_lists_that_cannot_be_read_decide_nothing(polar: FakePolar, customers: list[str], run: Run) -> None:
    run()
    replace(polar, customers[0], NOTHING)
    polar.set_listed(customers[0], "subscription", [build_subscription("s", meters=[None])])
    assert refresh(customers[0]) == Outcome.UPDATED
    assert count_held() == (0, 0)


def test_external_id_that_went_to_another_customer_is_never_with_two_that_live(
    polar: FakePolar, customers: list[str], run: Run
) -> None:
    run()
    organization = polar_settings.get_organization("default")
    for is_deleted in (True, False):
        former = Customer.objects.with_external_id("usr_0").get()
        if is_deleted:
            polar.delete_customer(former.pk)
        else:
            polar.update_customer(former.pk, external_id="usr_former")
        polar.create_customer(external_id="usr_0")
        with sync.connect(organization) as opened:
            outcomes = sync.refresh_external(organization, "usr_0", opened)
        assert sorted(outcomes) == sorted([Outcome.CREATED, Outcome.DELETED if is_deleted else Outcome.UPDATED])
        assert Customer.objects.with_external_id("usr_0").get().pk != former.pk


def test_trouble_while_the_lists_decide_is_no_failure_of_a_customer(
    polar: FakePolar, customers: list[str], run: Run
) -> None:
    """The page is tried again, instead of its customers being recorded as changed by others."""
    run()
    replace(polar, customers[0], NOTHING)
    polar.faults.add(Fault(kind="server_error", operation="benefit-grants:list", times=15))
    assert get_end(run()) == ("succeeded", "")
    assert count_held() == (0, 0)


def test_trouble_that_lasts_while_the_lists_decide_is_told_as_what_it_is(
    polar: FakePolar, customers: list[str], run: Run
) -> None:
    run()
    replace(polar, customers[0], NOTHING)
    polar.faults.add(Fault(kind="server_error", operation="benefit-grants:list", times=None))
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert ended.failures.get().reason.startswith("ServerError: ")
    assert has_failures_left(ended), "it is taken for mirrored"
