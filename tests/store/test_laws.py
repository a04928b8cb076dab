"""What holds for everything that Polar may say, in whatever order it arrives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.models import Customer, Organization
from polar_sync.payloads import Interval, dump_canonical
from polar_sync.payloads.values import read_timestamp
from polar_sync.store import Observation, apply, observe_absence, observe_customer, observe_state
from tests.factories import (
    CHILD_ARRAYS,
    CREATED_AT,
    apply_states,
    at,
    build_customer,
    build_full_state,
    build_state,
    make_uuid,
    normalize_state,
    read_at,
)
from tests.store.strategies import draw_state
from tests.store.support import capture, get_writes, law, rolled_back, take_snapshot


def get_state(name: object) -> dict[str, Any]:
    return Customer.all_objects.get(pk=make_uuid(name)).state()


def sort_arrays(state: dict[str, Any]) -> str:
    """The exact text of a state, -0.0 and 1 against 1.0 included, but for the order of the arrays."""

    def by_id(items: Any) -> Any:
        return sorted(items, key=lambda item: str(item["id"]).lower()) if isinstance(items, list) else items

    subscriptions = [
        {**item, "meters": by_id(item["meters"])} if "meters" in item else item
        for item in state["active_subscriptions"]
    ]
    arrays = {key: by_id(state[key]) for key in CHILD_ARRAYS}
    return dump_canonical({**state, **arrays, "active_subscriptions": by_id(subscriptions)})


def get_expected(state: dict[str, Any]) -> dict[str, Any]:
    """As it was said, but for what somebody who is deleted still holds: that is about to be taken back."""
    is_deleted = read_timestamp(state.get("deleted_at")) is not None
    return {**state, **{name: [] for name in CHILD_ARRAYS}} if is_deleted else state


def set_version(state: dict[str, Any], version: int) -> dict[str, Any]:
    """The same state, each object of it modified at that time: an older version would never replace a newer one."""
    times = {"created_at": CREATED_AT, "modified_at": at(version - 10).isoformat()}
    subscriptions = [
        {**each, **times, "meters": [{**meter, **times} for meter in each["meters"]]}
        if isinstance(each.get("meters"), list)
        else {**each, **times}
        for each in state["active_subscriptions"]
    ]
    others = {name: [{**each, **times} for each in state[name]] for name in CHILD_ARRAYS[1:]}
    return {**state, **times, **others, "active_subscriptions": subscriptions}


@law
@given(state=draw_state())
def test_any_state_is_given_back_as_it_was(organization: Organization, state: dict[str, Any]) -> None:
    with rolled_back():
        apply_states(organization, state, interval=read_at(0))
        assert sort_arrays(get_state("a")) == sort_arrays(get_expected(state))


@law
@given(states=st.lists(draw_state(), min_size=2, max_size=4))
def test_the_latest_of_many_states_is_given_back(organization: Organization, states: list[dict[str, Any]]) -> None:
    with rolled_back():
        for number, drawn in enumerate(states):
            state = set_version(drawn, number)
            apply_states(organization, state, interval=read_at(number))
            assert normalize_state(get_state("a")) == normalize_state(get_expected(state))


@law
@given(state=draw_state())
def test_a_state_that_was_applied_changes_nothing_when_it_comes_again(
    organization: Organization, state: dict[str, Any]
) -> None:
    with rolled_back():
        apply_states(organization, state, interval=read_at(0))
        before = take_snapshot(without=())
        for number in (0, 1):
            again = observe_state(state, interval=read_at(number))
            [write] = get_writes(capture(lambda one=again: apply([one], organization=organization)))  # type: ignore[misc]
            assert write.startswith('INSERT INTO "polar_sync_customerobservation"')
        del before["CustomerObservation"]
        assert {**take_snapshot(without=()), **before} == take_snapshot(without=())


# --- Any order and repetition ------------------------------------------------------------------------------------

# No child is in the states of both: that is what the tests of moves are about.
NAMES = ("a", "b")


def build_word(kind: str, name: str, version: int) -> Any:
    if kind == "customer":
        return build_customer(name, name=f"Version {version}", **{f"new {version % 2}": version})
    if kind == "deleted customer":
        return build_customer(name, deleted_at="2025-12-01T00:00:00Z", name=None)
    if kind == "deleted state":
        return build_state(name, deleted_at="2025-12-01T00:00:00Z", external_id=None)
    state = build_full_state(name, version=version % 3, children=version % 3)
    return {**state, "new in states": version % 2} if version % 4 else state


def observe(kind: str, name: str, version: int, interval: Interval) -> Observation:
    if kind == "absence":
        return observe_absence(make_uuid(name), interval=interval)
    word = build_word(kind, name, version)
    return (observe_state if "state" in kind else observe_customer)(word, interval=interval)


KINDS = ("customer", "state", "state", "absence", "deleted customer", "deleted state")


@st.composite
def draw_words(draw: st.DrawFn) -> tuple[list[Observation], list[list[Observation]]]:
    """Words with distinct times in their order, and the same in any order, some repeated, in batches."""
    spoken = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), min_size=2, max_size=8))
    words = [observe(kind, name, number, read_at(number)) for number, (kind, name) in enumerate(spoken)]
    repeated = draw(st.lists(st.sampled_from(words), max_size=4))
    shuffled = draw(st.permutations([*words, *repeated]))
    batches: list[list[Observation]] = [[]]
    for word in shuffled:
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(word)
    return words, batches


@law
@given(drawn=draw_words())
def test_any_order_and_repetition_ends_in_the_same_rows(
    organization: Organization, drawn: tuple[list[Observation], list[list[Observation]]]
) -> None:
    words, batches = drawn
    with rolled_back():
        for word in words:
            apply([word], organization=organization)
        expected = take_snapshot()
    with rolled_back():
        for batch in batches:
            apply(batch, organization=organization)
        assert take_snapshot() == expected


@pytest.mark.parametrize("kind", ["customer", "state"])
def test_absence_holds_against_an_older_word_that_comes_later(organization: Organization, kind: str) -> None:
    apply([observe("absence", "a", 0, read_at(5))], organization=organization)
    apply([observe(kind, "a", 1, read_at(4))], organization=organization)
    assert Customer.all_objects.get().deleted_at == at(5)
    assert not Customer.objects.exists()
    apply([observe(kind, "a", 2, read_at(6))], organization=organization)
    assert Customer.objects.get().pk == make_uuid("a")
