"""What holds where answers cross each other: cached states, replicas that are behind, clocks that are off."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.payloads import Interval
from polar_sync.store import (
    ApplyResult,
    Observation,
    Outcome,
    apply,
    get_records,
    observe_absence,
    observe_assembled,
    observe_customer,
    observe_state,
)
from tests.factories import (
    CHILD_ARRAYS,
    at,
    build_customer,
    build_full_state,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    make_uuid,
)
from tests.store.support import law, minutes, rolled_back, take_snapshot

A, B = make_uuid("a"), make_uuid("b")
HELD = build_state("a", subscriptions=[build_subscription("s")], grants=[build_grant("g")])
CANCELED = build_state("a")


def observe_lists(state: dict[str, Any], interval: Interval, *, follows: Any = None) -> list[Observation]:
    own = {key: value for key, value in state.items() if key not in CHILD_ARRAYS}
    listed = observe_customer(own, interval=interval)
    return [
        listed,
        observe_assembled(
            state, listed=listed, interval=interval, outside_state=(), unreliable_fields={}, follows=follows
        ),
    ]


def change(item: dict[str, Any], modified: float, **fields: Any) -> dict[str, Any]:
    return {**item, **fields, "modified_at": minutes(modified).start.isoformat()}


@pytest.fixture
def write(organization: Organization) -> Any:
    def write(*observations: Observation | list[Observation]) -> ApplyResult:
        lists = [each if isinstance(each, list) else [each] for each in observations]
        return apply(itertools.chain.from_iterable(lists), organization=organization)

    return write


def get_held() -> tuple[int, int]:
    row = Customer.all_objects.get(pk=A)
    return row.subscriptions.count(), row.benefit_grants.count()


# --- What belongs to a customer ----------------------------------------------------------------------------------


def test_cached_state_does_not_bring_back_what_lists_no_longer_show(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    write(observe_lists(CANCELED, minutes(10)))
    result = write(observe_state(HELD, interval=minutes(12)))
    assert get_held() == (0, 0)
    assert result.unresolved.keys() == {A}
    assert not result.outcomes


def test_page_read_before_a_cancellation_and_written_after_it_brings_nothing_back(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    page = observe_lists(HELD, minutes(10))
    write(observe_lists(CANCELED, minutes(11)))
    assert write(page).outcomes == {A: Outcome.STALE}
    assert get_held() == (0, 0)


def test_lists_of_the_same_seconds_decide_nothing(write: Any) -> None:
    write(observe_lists(CANCELED, minutes(0)))
    assert write(observe_lists(HELD, minutes(0.02))).unresolved.keys() == {A}
    assert get_held() == (0, 0)


def test_lists_asked_after_what_is_stored_was_read_decide_whatever_the_clocks_say(write: Any) -> None:
    for stored, now, held in ((CANCELED, HELD, (1, 1)), (HELD, CANCELED, (0, 0))):
        write(observe_lists(stored, minutes(200)))
        write(observe_lists(stored, minutes(200), follows=get_records([A])[A]))
        follows = get_records([A])[A]
        result = write(observe_lists(now, minutes(200.01), follows=follows))
        assert result.outcomes == {A: Outcome.UPDATED}
        assert get_held() == held


def test_lists_asked_after_what_is_stored_was_read_decide_though_that_is_dated_ahead(write: Any) -> None:
    write(observe_lists(HELD, minutes(60)))
    follows = get_records([A])[A]
    assert write(observe_lists(CANCELED, minutes(1), follows=follows)).outcomes == {A: Outcome.UPDATED}
    assert get_held() == (0, 0)
    assert write(observe_lists(HELD, minutes(2))).outcomes == {A: Outcome.UPDATED}, "no longer frozen either"
    assert get_held() == (1, 1)


def test_lists_that_followed_something_else_decide_nothing(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    before = get_records([A])[A]
    write(observe_lists(CANCELED, minutes(10)))
    assert write(observe_lists(HELD, minutes(10.01), follows=before)).unresolved.keys() == {A}


def test_equal_state_is_no_conflict(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    result = write(observe_state(HELD, interval=minutes(1)))
    assert (result.outcomes, result.unresolved) == ({A: Outcome.UNCHANGED}, {})
    row = CustomerObservation.objects.get()
    assert row.state_observed_until == minutes(0).end, "the lists' word is the later one, as a state may be older"


def test_state_of_more_than_an_hour_later_decides(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    assert write(observe_state(CANCELED, interval=minutes(62))).outcomes == {A: Outcome.UPDATED}
    assert get_held() == (0, 0)


def test_state_that_shows_a_change_from_after_the_lists_decides(write: Any) -> None:
    write(observe_lists(HELD, minutes(0)))
    state = build_state("a", meters=[change(build_meter("m"), 5)])
    assert write(observe_state(state, interval=minutes(6))).outcomes == {A: Outcome.UPDATED}
    assert get_held() == (0, 0)


def test_child_that_changed_after_what_is_stored_was_read_comes_in(write: Any) -> None:
    write(observe_state(build_state("a", grants=[change(build_grant("g"), 50)]), interval=minutes(60)))
    lists = build_state("a", grants=[change(build_grant("g"), 50), change(build_grant("h"), 61)])
    assert write(observe_lists(lists, minutes(60.5))).outcomes == {A: Outcome.UPDATED}
    assert get_held() == (0, 2)


def test_without_lists_the_later_request_decides(write: Any) -> None:
    write(observe_state(HELD, interval=minutes(0)))
    assert write(observe_state(CANCELED, interval=minutes(1), is_final=True)).outcomes == {A: Outcome.UPDATED}
    assert get_held() == (0, 0)
    assert write(observe_state(HELD, interval=minutes(0.5), is_final=True)).outcomes == {A: Outcome.UNCHANGED}
    assert get_held() == (0, 0)


def test_without_lists_nothing_comes_back_that_may_have_been_taken_away(write: Any) -> None:
    write(observe_lists(CANCELED, minutes(0)))
    write(observe_state(HELD, interval=minutes(1), is_final=True))
    assert get_held() == (0, 0)
    new = build_state("a", grants=[build_grant("h", created_at=minutes(0.5).start.isoformat())])
    write(observe_state(new, interval=minutes(2), is_final=True))
    assert get_held() == (0, 1)


def test_state_that_shows_an_older_version_is_older_than_the_newer_one(write: Any) -> None:
    """It was put together before the change that is stored, so that what it lacks had not come yet."""
    old = build_state("a", subscriptions=[build_subscription("s")])
    new = build_state(
        "a", subscriptions=[change(build_subscription("s"), 10, status="trialing")], grants=[build_grant("g")]
    )
    write(observe_lists(new, minutes(11)))
    for is_final in (False, True):
        result = write(observe_state(old, interval=minutes(12), is_final=is_final))
        assert (result.changes, result.unresolved) == ((), {})
    assert get_held() == (1, 1)


def test_state_that_shows_the_customer_as_before_a_write_is_older_than_the_write(write: Any) -> None:
    write(observe_lists(CANCELED, minutes(0)))
    renamed = change(build_customer("a"), 10, name="New")
    write(observe_customer(renamed, interval=minutes(10), is_written=True))
    write(observe_lists({**HELD, **renamed}, minutes(10.5)))
    assert write(observe_state(CANCELED, interval=minutes(11), is_final=True)).outcomes == {A: Outcome.STALE}
    assert get_held() == (1, 1)
    assert Customer.objects.get().name == "New"


def test_state_that_is_proven_older_is_decided_too_where_no_list_can_be_asked(write: Any) -> None:
    write(observe_state(HELD, interval=minutes(0)))
    write(observe_customer(change(build_customer("a"), 10, name="New"), interval=minutes(10), is_written=True))
    result = write(observe_state(CANCELED, interval=minutes(12), is_final=True))
    assert (result.unresolved, get_held()) == ({}, (0, 0))
    assert Customer.objects.get().name == "New"


def test_past_due_subscription_stays_beside_a_state_that_may_be_older_and_leaves_with_a_later_one(write: Any) -> None:
    past_due = build_subscription("p", status="past_due")
    listed = observe_customer(build_customer("a"), interval=minutes(0))
    outside_state = observe_assembled(
        CANCELED, listed=listed, interval=minutes(0), outside_state=[past_due], unreliable_fields={}
    )
    write(listed, outside_state)
    assert write(observe_state(CANCELED, interval=minutes(1))).outcomes == {A: Outcome.UNCHANGED}
    assert get_held() == (1, 0)
    write(observe_state(CANCELED, interval=minutes(90)))
    assert get_held() == (0, 0)


# --- Objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observe", [observe_lists, lambda state, interval: observe_state(state, interval=interval)])
def test_object_is_never_replaced_by_an_older_version_of_it(write: Any, observe: Any) -> None:
    new = build_state("a", subscriptions=[change(build_subscription("s"), 5, amount=2)])
    write(observe(new, minutes(10)))
    write(observe(build_state("a", subscriptions=[change(build_subscription("s"), 4, amount=1)]), minutes(500)))
    assert Customer.objects.get().subscriptions.get().amount == 2


@pytest.mark.parametrize(("first", "second", "kept"), [("lists", "state", 1), ("state", "lists", 2)])
def test_of_one_version_lists_hold_against_a_state_of_the_same_hour(
    write: Any, first: str, second: str, kept: int
) -> None:
    def observe(source: str, number: int) -> Observation | list[Observation]:
        state = build_state("a", grants=[build_grant("g", benefit_metadata={"number": number})])
        interval = minutes(number)
        return observe_lists(state, interval) if source == "lists" else observe_state(state, interval=interval)

    write(observe(first, 1))
    write(observe(second, 2))
    assert Customer.objects.get().benefit_grants.get().benefit_metadata == {"number": kept}


def test_of_one_version_and_moment_nothing_tells_which_of_two_lists_is_the_later(write: Any) -> None:
    """As where the clocks were not known yet when the first was read."""
    told = [build_state("a", grants=[build_grant("g", properties={"number": number})]) for number in (1, 2)]
    write(observe_lists(told[0], Interval(minutes(0).start, minutes(4).end)))
    assert write(observe_lists(told[1], minutes(1))).unresolved.keys() == {A}
    follows = get_records([A])[A]
    assert write(observe_lists(told[1], minutes(1), follows=follows)).outcomes == {A: Outcome.UPDATED}
    assert Customer.objects.get().benefit_grants.get().properties == {"number": 2}


def test_of_one_version_a_state_corrects_what_lists_told_that_no_state_has_confirmed(write: Any) -> None:
    told, shown = (build_state("a", grants=[build_grant("g", properties={"number": number})]) for number in (1, 2))
    listed = observe_customer(build_customer("a"), interval=minutes(1))
    interval = minutes(1)
    write(
        observe_assembled(
            told, listed=listed, interval=interval, outside_state=(), unreliable_fields={}, is_confirmed=False
        )
    )
    write(observe_state(shown, interval=minutes(2)))
    assert Customer.objects.get().benefit_grants.get().properties == {"number": 2}


def test_write_holds_against_the_cached_state_that_follows_it(write: Any) -> None:
    write(observe_state(CANCELED, interval=minutes(0)))
    write(observe_customer(change(build_customer("a"), 70, name="New"), interval=minutes(70), is_written=True))
    for minute in (71, 100, 500):
        write(observe_state(CANCELED, interval=minutes(minute)))
    assert Customer.objects.get().name == "New"


def test_modification_beyond_the_present_guards_nothing(write: Any) -> None:
    far = {**build_subscription("s"), "modified_at": "2031-01-01T00:00:00Z"}
    write(observe_lists(build_state("a", subscriptions=[far], modified_at="2031-01-01T00:00:00Z"), minutes(0)))
    write(observe_customer({**build_customer("a"), "modified_at": "2031-01-01T00:00:00Z"}, interval=minutes(0)))
    later = build_state("a", subscriptions=[change(build_subscription("s"), 9, amount=7)], name="Later")
    write(observe_lists(later, minutes(10)))
    row = Customer.objects.get()
    assert (row.name, row.subscriptions.get().amount) == ("Later", 7)


def test_times_that_nothing_can_have_been_read_at_guard_nothing(write: Any) -> None:
    """As an answer with a wrong `Date` once left them."""
    write(observe_lists(HELD, minutes(0)))
    future = at(0).replace(year=2200)
    CustomerObservation.objects.update(
        **dict.fromkeys(("observed_at", "observed_until", "state_observed_at", "state_observed_until"), future)
    )
    result = write(observe_lists({**CANCELED, "name": "New"}, minutes(10)))
    assert result.outcomes == {A: Outcome.UPDATED}
    assert (Customer.objects.get().name, get_held()) == ("New", (0, 0))
    assert CustomerObservation.objects.get().state_observed_until == minutes(10).end


# --- Absence -----------------------------------------------------------------------------------------------------


def test_absence_of_the_same_moment_holds_whichever_came_first(organization: Organization) -> None:
    words = [observe_state(HELD, interval=minutes(0)), observe_absence(A, interval=minutes(0))]
    for order in (words, words[::-1]):
        for batches in ([order], [[one] for one in order]):
            with rolled_back():
                for batch in batches:
                    apply(batch, organization=organization)
                assert not Customer.objects.exists()
                assert get_held() == (0, 0)


def test_replica_that_does_not_have_a_new_customer_yet_deletes_nobody(write: Any) -> None:
    created = build_customer("a", created_at=minutes(10).start.isoformat())
    write(observe_customer(created, interval=minutes(10), is_written=True))
    follows = get_records([A])[A]
    assert write(observe_absence(A, interval=minutes(10.05), follows=follows)).outcomes == {A: Outcome.STALE}
    assert Customer.objects.exists()
    assert write(observe_absence(A, interval=minutes(10.2), follows=follows)).outcomes == {A: Outcome.DELETED}


def test_absence_asked_for_after_the_customer_was_listed_holds(write: Any) -> None:
    created = build_customer("a", created_at=minutes(10).start.isoformat())
    write(observe_customer(created, interval=minutes(10.01)))
    assert write(observe_absence(A, interval=minutes(10.02))).outcomes == {A: Outcome.STALE}
    follows = get_records([A])[A]
    assert write(observe_absence(A, interval=minutes(10.02), follows=follows)).outcomes == {A: Outcome.DELETED}


def test_absence_asked_for_after_the_customer_was_read_holds_though_that_is_dated_ahead(write: Any) -> None:
    write(observe_lists(HELD, minutes(60)))
    assert write(observe_absence(A, interval=minutes(1))).outcomes == {A: Outcome.STALE}
    follows = get_records([A])[A]
    assert write(observe_absence(A, interval=minutes(1), follows=follows)).outcomes == {A: Outcome.DELETED}
    assert get_held() == (0, 0)
    write(observe_lists(HELD, minutes(60)))
    assert not Customer.objects.exists(), "what was read before it"


def test_own_deletion_holds_against_everything_that_was_read(write: Any) -> None:
    write(observe_state(HELD, interval=minutes(10)), observe_customer(build_customer("a"), interval=minutes(10)))
    result = write(observe_absence(A, interval=minutes(9), is_written=True))
    assert result.outcomes == {A: Outcome.DELETED}
    write(observe_state(HELD, interval=minutes(10)), observe_customer(build_customer("a"), interval=minutes(10)))
    assert not Customer.objects.exists()
    assert get_held() == (0, 0)


def test_state_of_somebody_deleted_brings_nothing_with_it(write: Any) -> None:
    """Revocation is a later job of Polar's: the state may hold grants for a while."""
    write(observe_state({**HELD, "deleted_at": "2025-12-01T00:00:00Z"}, interval=minutes(0)))
    assert get_held() == (0, 0)
    assert Customer.all_objects.get().deleted_at is not None


def get_ids(result: ApplyResult) -> set[UUID]:
    return set(result.outcomes) | set(result.unresolved)


def test_every_customer_of_a_batch_is_told_of_or_unresolved(write: Any) -> None:
    write(observe_lists(CANCELED, minutes(0)), observe_state(build_full_state("b"), interval=minutes(0)))
    before = take_snapshot()
    result = write(observe_state(HELD, interval=minutes(1)), observe_state(build_full_state("b"), interval=minutes(1)))
    assert get_ids(result) == {A, B}
    assert result.unresolved.keys() == {A}
    assert take_snapshot()["Subscription"] == before["Subscription"]


def test_unresolved_customer_is_not_marked_as_seen(organization: Organization) -> None:
    apply(observe_lists(CANCELED, minutes(0)), organization=organization)
    apply([observe_state(HELD, interval=minutes(1))], organization=organization, run_id=7, pass_number=1)
    assert CustomerObservation.objects.get().seen_by_run is None


def test_unresolved_customer_is_not_marked_as_answered(organization: Organization) -> None:
    """What failed for it would else be taken for history."""
    apply(observe_lists(CANCELED, minutes(0)), organization=organization)
    before = CustomerObservation.objects.get().answered_at
    result = apply([observe_state(HELD, interval=minutes(1))], organization=organization)
    assert result.unresolved.keys() == {A}
    assert CustomerObservation.objects.get().answered_at == before


# --- The law -----------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(("state", "lists")), st.booleans(), st.integers(0, 59)),
    min_size=1,
    max_size=6,
)


@law
@given(steps=STEPS)
def test_what_lists_said_last_is_never_undone_by_a_state_that_was_cached_before(
    organization: Organization, steps: list[tuple[str, bool, int]]
) -> None:
    """Polar's truth changes minute by minute; lists tell it, states tell that of up to an hour ago, without scopes."""
    truth: list[dict[str, Any]] = [HELD]
    with rolled_back():
        apply(observe_lists(HELD, minutes(0)), organization=organization)
        said = HELD
        for number, (source, is_held, age) in enumerate(steps, start=1):
            truth.append(HELD if is_held else CANCELED)
            if source == "lists":
                said = truth[number]
                apply(observe_lists(said, minutes(number)), organization=organization)
            else:
                cached = truth[max(0, number - age)]
                apply([observe_state(cached, interval=minutes(number))], organization=organization)
            held = (1, 1) if said is HELD else (0, 0)
            assert get_held() == held
