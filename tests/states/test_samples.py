"""Assembled states are believed as far as real states have confirmed them in the same run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest

from polar_sync.models import Customer, SyncRun
from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from polar_sync.testing.http import format_timestamp
from tests.factories import build_subscription
from tests.states.conftest import Run, find_differences

pytestmark = pytest.mark.django_db(transaction=True)
STATE = "customers:get_state"
GONE = {"error": "ResourceNotFound", "detail": "Not found"}
Kind = Literal["subscription", "grant", "meter"]
ARRAYS: dict[str, Kind] = {
    "active_subscriptions": "subscription",
    "granted_benefits": "grant",
    "active_meters": "meter",
}


def change_states(polar: FakePolar, change: Callable[[dict[str, Any]], Any], *, lists_too: bool = True) -> None:
    """Change every customer's state; without `lists_too` the lists keep what they said."""
    for customer_id in polar.customers:
        before = polar.get_state(customer_id)
        state = json.loads(json.dumps(before))
        change(state)
        polar.replace_state(customer_id, state)
        if not lists_too:
            for name, kind in ARRAYS.items():
                polar.set_listed(customer_id, kind, before[name])


def get_sampled(polar: FakePolar) -> set[str]:
    return {request.path.split("/")[3] for request in polar.requests if request.path.endswith("/state")}


def make_time(polar: FakePolar, **before: float) -> str:
    return format_timestamp(polar.now() - timedelta(**before))


@pytest.mark.parametrize("source", ["auto", "batched"])
def test_value_that_lists_tell_otherwise_makes_the_run_ask_for_states(
    polar: FakePolar, run: Run, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    polar.add_field("subscription", "amount", 999, where="lists")
    ended = run(source)
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "amount is 999 in lists and " in ended.source_note
    assert caplog.text.count("asked for one by one") == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [("customer", "name"), ("subscription_meter", "consumed_units"), ("grant", "properties"), ("meter", "balance")],
)
def test_note_names_what_differs_and_tells_nothing_of_a_person(
    polar: FakePolar, run: Run, kind: Any, name: str
) -> None:
    polar.add_field(kind, name, "Ada Lovelace", where="lists")
    ended = run("auto")
    assert ended.source == "per_customer"
    assert find_differences(polar, without=["name"]) == [], "the list of customers is newer than any state"
    assert f".{name} differs" in ended.source_note
    assert "Ada" not in ended.source_note
    assert "@" not in ended.source_note


@pytest.mark.parametrize("name", ARRAYS)
def test_object_that_only_lists_have_makes_the_run_ask_for_states(polar: FakePolar, run: Run, name: str) -> None:
    change_states(polar, lambda state: state[name].clear(), lists_too=False)
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "is only in lists" in ended.source_note


@pytest.mark.parametrize("name", ARRAYS)
def test_object_that_only_states_have_makes_the_run_ask_for_states(polar: FakePolar, run: Run, name: str) -> None:
    for customer_id in polar.customers:
        polar.set_listed(customer_id, ARRAYS[name], [])
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "is only in the state" in ended.source_note


def test_object_that_only_states_have_and_that_has_ended_since_is_no_contradiction(polar: FakePolar, run: Run) -> None:
    """The states are of an hour ago; asked for the grants themselves, Polar says that they were revoked."""
    for customer_id in polar.customers:
        grants = polar.get_state(customer_id)["granted_benefits"]
        revoked = [{**each, "is_granted": False, "modified_at": make_time(polar, minutes=10)} for each in grants]
        polar.set_listed(customer_id, "grant", revoked)
    ended = run("auto")
    assert (ended.status, ended.source, ended.source_note) == ("succeeded", "batched", "")
    sampled = get_sampled(polar)
    assert not Customer.objects.exclude(pk__in=sampled).filter(benefit_grants__isnull=False).exists()


@pytest.mark.parametrize(("minutes", "source"), [(10, "batched"), (90, "per_customer")])
def test_state_may_be_an_hour_old_and_no_older(polar: FakePolar, run: Run, minutes: int, source: str) -> None:
    def end_soon(state: dict[str, Any]) -> None:
        for each in state["active_subscriptions"]:
            each |= {"modified_at": make_time(polar, minutes=minutes), "cancel_at_period_end": True}

    before = {key: polar.get_state(key) for key in polar.customers}
    change_states(polar, end_soon)
    for customer_id, state in before.items():
        subscriptions = polar.get_state(customer_id)["active_subscriptions"]
        polar.replace_state(customer_id, state)
        polar.set_listed(customer_id, "subscription", subscriptions)
    ended = run("auto")
    assert (ended.status, ended.source) == ("succeeded", source)
    if source == "per_customer":
        assert find_differences(polar) == []
        return
    # No sample could confirm an active subscription, so that whoever has one is asked for; others are from lists.
    with_subscription = {key for key, state in before.items() if state["active_subscriptions"]}
    assert get_sampled(polar) >= with_subscription
    assert len(get_sampled(polar)) < 130


def test_difference_that_a_change_explains_is_no_contradiction(polar: FakePolar, run: Run) -> None:
    """It was made after the lists were read and before the states were; the lists, read again, have it too."""

    def make_dearer(state: dict[str, Any]) -> None:
        for each in state["active_subscriptions"]:
            each["amount"] += 1

    polar.before(STATE, lambda: change_states(polar, make_dearer))
    ended = run("auto")
    assert (ended.status, ended.source, ended.source_note) == ("succeeded", "batched", "")
    run("auto")
    assert find_differences(polar) == []


def test_samples_cover_every_type_there_is(polar: FakePolar, run: Run) -> None:
    ended = run("auto")
    states = [polar.get_state(key) for key in polar.customers]
    benefits = {each["benefit_type"] for state in states for each in state["granted_benefits"]}
    statuses = {each["status"] for state in states for each in state["active_subscriptions"]}
    assert len(benefits) > 3
    expected = {f"benefit_grant:{each}" for each in benefits} | {f"subscription:{each}" for each in statuses}
    assert set(ended.state_fields["confirmed"]) == {
        *expected, "customer:individual", "customer:team", "meter", "subscription_meter"
    }  # fmt: skip
    sampled = [polar.get_state(key) for key in get_sampled(polar)]
    assert {each["benefit_type"] for state in sampled for each in state["granted_benefits"]} == benefits
    assert len(sampled) <= 6


def test_samples_are_of_what_has_not_changed_for_an_hour(polar: FakePolar, run: Run) -> None:
    settled = set(polar.customers[-40:])

    def touch(state: dict[str, Any]) -> None:
        if state["id"] not in settled:
            for name in ARRAYS:
                for each in state[name]:
                    each["modified_at"] = make_time(polar, minutes=5)

    change_states(polar, touch)
    # The first page of the list is all that the first samples can be taken from.
    run("auto")
    of_first_page = get_sampled(polar) & set(polar.customers[:100])
    assert of_first_page & settled
    assert len(of_first_page - settled) <= len(of_first_page & settled) + 1


FAILURES: dict[str, tuple[int, Any, int]] = {
    "deleted": (404, GONE, 1),
    "broken": (500, {}, 5),
    "malformed": (200, {}, 1),
    "no object": (200, [], 1),
    "ids of another kind": (200, {"active_subscriptions": [{"id": ["x"]}]}, 1),
    "null": (200, {"active_subscriptions": None, "granted_benefits": 5, "active_meters": "x"}, 1),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_sample_that_fails_is_replaced(polar: FakePolar, run: Run, failure: str) -> None:
    status, value, times = FAILURES[failure]
    for kind in ("subscription", "subscription_meter", "grant", "meter", "customer"):
        polar.add_field(kind, "added", {"deep": [1]}, where="both")
    first = polar.get_state(polar.customers[0])
    body = json.dumps({**first, **value} if isinstance(value, dict) and len(value) else value).encode()
    polar.faults.add(Fault(operation=STATE, kind="server_error", status=status, body=body, times=times))
    ended = run("auto")
    assert ended.source == "batched"
    assert ended.listed == 130
    lacking = {str(one.pk) for one in Customer.objects.with_state() if not has_added(one.state())}
    assert lacking <= get_sampled(polar)
    assert len(lacking) <= 1, "the sample itself, if any"
    assert Customer.objects.count() >= 129


def has_added(state: dict[str, Any]) -> bool:
    children = [each for name in ARRAYS for each in state[name]]
    meters = [meter for each in state["active_subscriptions"] for meter in each["meters"]]
    return all("added" in each for each in [state, *children, *meters])


def test_samples_that_always_fail_end_the_run_and_write_nothing_unconfirmed(polar: FakePolar, run: Run) -> None:
    polar.add_field("subscription", "added", 1, where="both")
    polar.faults.add(Fault(operation=STATE, kind="server_error", status=500, times=None))
    ended = run("auto")
    assert ended.status in {"partial", "failed"}
    assert not SyncRun.objects.get().created
    assert polar.counts[STATE] < 130 * 6


@pytest.mark.parametrize("kind", ["subscription", "grant", "meter"])
def test_field_that_only_some_have_takes_one_more_sample_that_teaches_all(
    polar: FakePolar, run: Run, kind: Any
) -> None:
    run("auto")
    usual = len(get_sampled(polar))
    name = next(name for name, each in ARRAYS.items() if each == kind)
    chosen = [key for key in polar.customers if polar.get_state(key)[name]][-12:]
    for customer_id in chosen:
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        state[name][0]["rarely"] = "there"
        polar.replace_state(customer_id, state)
    polar.requests.clear()
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("batched", [])
    assert len(get_sampled(polar)) <= usual + 1


def test_field_that_states_have_now_and_then_makes_the_run_ask_for_states(polar: FakePolar, run: Run) -> None:
    polar.add_field("subscription", "rarely", "there", where="lists")
    for customer_id in polar.customers:
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        for each in state["active_subscriptions"]:
            if each["status"] == "trialing":
                each["rarely"] = "there"
        polar.replace_state(customer_id, state)
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("per_customer", [])
    assert "subscription rarely" in ended.source_note


def test_type_that_no_sample_confirms_is_asked_for_one_by_one_and_costs_ten_samples(polar: FakePolar, run: Run) -> None:
    """Its grants change all the time: no state, some minutes old, shows what the lists do."""
    chosen = set()
    for customer_id in polar.customers:
        grants = polar.get_state(customer_id)["granted_benefits"]
        if any(each["benefit_type"] == "discord" for each in grants):
            chosen.add(customer_id)
            busy = {"modified_at": make_time(polar, minutes=3)}
            polar.set_listed(
                customer_id, "grant", [each | (busy if each["benefit_type"] == "discord" else {}) for each in grants]
            )
    ended = run("auto")
    assert (ended.status, ended.source, ended.source_note) == ("succeeded", "batched", "")
    assert find_differences(polar) == []
    assert ended.state_fields["tries"] == {"benefit_grant:discord": 10}
    assert get_sampled(polar) >= chosen
    assert len(get_sampled(polar) - chosen) <= 6


def test_status_that_polar_counts_as_active_is_mirrored(polar: FakePolar, run: Run) -> None:
    for customer_id in polar.customers[::4]:
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        for each in state["active_subscriptions"]:
            each["status"] = "grace"
        polar.replace_state(customer_id, state)
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "batched", [])
    assert Customer.objects.filter(subscriptions__status="grace").exists()
    assert Customer.objects.filter(subscriptions__is_in_state=False, subscriptions__status="past_due").exists()
    assert run("auto").unchanged == 130


def test_subscriptions_are_counted_in_two_ways_once_a_run(polar: FakePolar, run: Run) -> None:
    run("auto")
    counted = [
        request
        for request in polar.requests
        if request.path == "/v1/subscriptions/" and "limit=1" in request.query.split("&")
    ]
    assert len(counted) == 2


@pytest.mark.parametrize("name", ["nul\0", "lone \ud800", 'quoted "\\'])
def test_name_that_no_database_takes_is_learned_like_any_other(polar: FakePolar, run: Run, name: str) -> None:
    polar.add_field("subscription", name, 1)
    polar.add_field("grant", name, 1, where="lists")
    for _ in range(2):
        ended = run("auto")
        assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "batched", [])


def test_lists_that_cannot_be_read_say_nothing_against_a_state(polar: FakePolar, run: Run) -> None:
    """Asked for all that they have, they would have told what became of the grants that only states show."""
    for customer_id in polar.customers:
        canceled = {**build_subscription(customer_id), "status": "canceled", "meters": [None]}
        polar.set_other_subscriptions(customer_id, [canceled])
        polar.set_listed(customer_id, "grant", [])
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
