"""What a difference between a state and what was told of it proves."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.payloads import Interval
from polar_sync.states.comparison import ABSENT, Difference, Verdict, compare, find_equal, find_repeated, index_objects

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD, YOUNG = "2026-11-21T10:58:00Z", "2026-11-21T11:00:00Z"
CONTRADICTION, NO_EVIDENCE = Verdict.CONTRADICTION, Verdict.NO_EVIDENCE


def make_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def make_state(modified_at: str | None = OLD) -> dict[str, Any]:
    dated = {"created_at": "2026-01-01T00:00:00Z", "modified_at": modified_at}
    meter = {**dated, "id": make_id(3), "meter_id": make_id(30), "consumed_units": 1.5}
    subscription = {**dated, "id": make_id(2), "status": "active", "amount": 100, "price_id": "p", "meters": [meter]}
    benefit: dict[str, Any] = {"benefit_id": make_id(40), "benefit_type": "custom", "benefit_metadata": {}}
    return {
        **dated,
        "id": make_id(1),
        "email": "ada@example.com",
        "name": "Ada",
        "type": "individual",
        "avatar_url": "a",
        "first_user_event_at": None,
        "active_subscriptions": [subscription],
        "granted_benefits": [{**dated, "id": make_id(4), **benefit}],
        "active_meters": [{**dated, "id": make_id(5), "meter_id": make_id(30), "balance": 3}],
    }


OBJECTS = {
    "customer": lambda state: state,
    "subscription": lambda state: state["active_subscriptions"][0],
    "subscription_meter": lambda state: state["active_subscriptions"][0]["meters"][0],
    "benefit_grant": lambda state: state["granted_benefits"][0],
    "meter": lambda state: state["active_meters"][0],
}
LISTS = {
    "subscription": lambda state: state["active_subscriptions"],
    "subscription_meter": lambda state: state["active_subscriptions"][0]["meters"],
    "benefit_grant": lambda state: state["granted_benefits"],
    "meter": lambda state: state["active_meters"],
}


def ask(shown: Any, told: Any, **further: Any) -> list[Difference]:
    return compare(shown, told, shown_in=Interval.at(NOW), told_in=Interval.at(NOW), **further)


def describe(found: list[Difference]) -> list[tuple[str, str | None, Verdict]]:
    return [(each.kind, each.field, each.verdict) for each in found]


def test_same_state_differs_in_nothing_however_it_is_written() -> None:
    told = make_state()
    told["active_subscriptions"][0] |= {"created_at": "2026-01-01T01:00:00+01:00", "amount": 100.0}
    told["active_meters"].append(told["active_meters"].pop(0))
    assert ask(make_state(), told) == []


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("modified_at", [OLD, YOUNG, None])
def test_every_own_field_of_one_version_is_equal(kind: str, modified_at: str | None) -> None:
    told = make_state(modified_at)
    OBJECTS[kind](told)["anything"] = 1
    shown = make_state(modified_at)
    OBJECTS[kind](shown)["anything"] = 2
    assert describe(ask(shown, told)) == [(kind, "anything", CONTRADICTION)]
    del OBJECTS[kind](shown)["anything"]
    [difference] = ask(shown, told)
    assert (difference.told, difference.shown, difference.is_name) == (1, ABSENT, True)


@pytest.mark.parametrize(
    ("kind", "name"), [("customer", "avatar_url"), ("customer", "first_user_event_at"), ("subscription", "price_id")]
)
def test_fields_that_move_without_the_object_may_differ(kind: str, name: str) -> None:
    told = make_state()
    OBJECTS[kind](told)[name] = "other"
    assert ask(make_state(), told) == []


@pytest.mark.parametrize("name", ["benefit_type", "benefit_metadata"])
@pytest.mark.parametrize(
    ("changed_at", "expected"), [(YOUNG, NO_EVIDENCE), (OLD, CONTRADICTION), (None, CONTRADICTION)]
)
def test_what_a_grant_takes_from_its_benefit_may_differ_while_that_is_young(
    name: str, changed_at: str | None, expected: Verdict
) -> None:
    told = make_state()
    told["granted_benefits"][0][name] = "other"
    benefits = {make_id(40): datetime.fromisoformat(changed_at)} if changed_at else {}
    assert describe(ask(make_state(), told, benefits=benefits)) == [("benefit_grant", name, expected)]


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize(("newer", "expected"), [(YOUNG, NO_EVIDENCE), (OLD, CONTRADICTION)])
@pytest.mark.parametrize("is_told", [True, False])
def test_other_version_proves_something_once_a_stored_state_must_have_it(
    kind: str, newer: str, expected: Verdict, is_told: bool
) -> None:
    before, after = make_state("2026-02-01T00:00:00Z"), make_state("2026-02-01T00:00:00Z")
    OBJECTS[kind](after)["modified_at"] = newer
    shown, told = (before, after) if is_told else (after, before)
    assert describe(ask(shown, told)) == [(kind, "modified_at", expected)]


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(("version", "expected"), [(YOUNG, NO_EVIDENCE), (OLD, CONTRADICTION)])
def test_object_that_the_state_lacks_proves_something_once_it_must_have_it(
    kind: str, version: str, expected: Verdict
) -> None:
    told, shown = make_state(), make_state()
    OBJECTS[kind](told)["modified_at"] = version
    LISTS[kind](shown).clear()
    if kind == "subscription":
        told["active_subscriptions"][0]["meters"] = []
    [difference] = ask(shown, told)
    assert (difference.kind, difference.field, difference.shown) == (kind, None, ABSENT)
    assert difference.verdict is expected


@pytest.mark.parametrize(
    ("version", "expected"), [("2026-11-21T11:58:59Z", CONTRADICTION), ("2026-11-21T11:59:30Z", NO_EVIDENCE)]
)
def test_object_that_only_the_state_has_is_one_that_the_lists_had_to_have(version: str, expected: Verdict) -> None:
    told, shown = make_state(), make_state()
    told["granted_benefits"] = []
    shown["granted_benefits"][0]["modified_at"] = version
    [difference] = ask(shown, told)
    assert (difference.field, difference.told, difference.verdict) == (None, ABSENT, expected)


def test_object_without_a_readable_time_proves_nothing_by_its_absence() -> None:
    told, shown = make_state(), make_state()
    told["active_meters"][0] |= {"created_at": "soon", "modified_at": None}
    shown["active_meters"] = []
    assert [each.verdict for each in ask(shown, told)] == [NO_EVIDENCE]


def test_meter_of_another_subscription_is_another_meter() -> None:
    told, shown = make_state(), make_state()
    other = {**shown["active_subscriptions"][0], "id": make_id(9), "meters": []}
    told["active_subscriptions"].append(other)
    shown["active_subscriptions"].append({**other, "meters": shown["active_subscriptions"][0]["meters"]})
    shown["active_subscriptions"][0]["meters"] = []
    assert {each.kind for each in ask(shown, told)} == {"subscription_meter"}


def test_only_what_a_second_comparison_repeats_stands() -> None:
    shown, first, second = make_state(), make_state(), make_state()
    first["active_subscriptions"][0]["amount"] = 999
    assert find_repeated(ask(shown, first), ask(shown, second)) == []
    second["active_subscriptions"][0]["amount"] = 999
    assert [each.field for each in find_repeated(ask(shown, first), ask(shown, second))] == ["amount"]
    second["active_subscriptions"][0]["modified_at"] = YOUNG
    assert find_repeated(ask(shown, first), ask(shown, second)) == [], "it has changed since"


def test_equal_objects_are_those_without_a_difference_but_in_names() -> None:
    told, shown = make_state(), make_state()
    told["active_subscriptions"][0]["seats"] = 3
    told["granted_benefits"][0]["properties"] = {"a": 1}
    shown["granted_benefits"][0]["properties"] = {"a": 2}
    kinds = {kind for kind, _ in find_equal(shown, told, ask(shown, told))}
    assert kinds == {"customer", "subscription", "subscription_meter", "meter"}


@pytest.mark.parametrize("name", ["email", "name", "billing_address", "metadata", "added"])
@pytest.mark.parametrize("value", ["Ada Lovelace", {"line1": "St James"}, ["x"]])
def test_description_tells_nothing_of_a_person(name: str, value: Any) -> None:
    for has_both in (True, False):
        told, shown = make_state(), make_state()
        told[name] = value
        shown[name] = "someone else"
        if not has_both:
            del shown[name]
        text = " ".join(each.describe() for each in ask(shown, told))
        assert name in text
        assert not any(word in text for word in ("Ada", "St James", "someone", '"x"'))


def test_description_tells_amounts_and_statuses() -> None:
    told, shown = make_state(), make_state()
    told["active_subscriptions"][0] |= {"amount": 999, "status": "trialing"}
    amount, status = ask(shown, told)
    assert amount.describe() == f"subscription {make_id(2)}.amount is 999 in lists and 100 in the state"
    assert status.describe().endswith('status is "trialing" in lists and "active" in the state')


@given(data=st.data(), minutes=st.integers(0, 120))
def test_differences_are_those_of_the_objects_whatever_else_is_there(data: st.DataObject, minutes: int) -> None:
    """Each object that was changed differs, in what was changed; no other one does."""
    told, shown = make_state(), make_state()
    changed = data.draw(st.sets(st.sampled_from(sorted(OBJECTS))))
    for kind in changed:
        OBJECTS[kind](told)["anything"] = data.draw(st.integers() | st.none() | st.booleans())
        OBJECTS[kind](shown)["anything"] = "text"
    before = copy.deepcopy((told, shown))
    later = Interval.at(NOW + timedelta(minutes=minutes))
    found = compare(shown, told, shown_in=later, told_in=Interval.at(NOW))
    assert {each.kind for each in found} == changed
    assert {each.verdict for each in found} <= {CONTRADICTION}
    assert (told, shown) == before
    assert len(index_objects(told)) == len(OBJECTS)
