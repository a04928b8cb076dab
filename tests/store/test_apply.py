"""What becomes of a customer, and what `apply` tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.store import ChangeKind, Observation, Outcome, apply, observe_absence, observe_customer, observe_state
from tests.factories import (
    apply_absences,
    apply_customers,
    apply_states,
    at,
    build_customer,
    build_full_state,
    build_state,
    make_uuid,
    read_at,
)
from tests.store.support import take_snapshot

A = make_uuid("a")


def get_children() -> int:
    row = Customer.all_objects.get(pk=A)
    return row.subscriptions.count() + row.benefit_grants.count() + row.meters.count()


def test_first_word_creates(organization: Organization) -> None:
    result = apply_states(organization, build_full_state("a"), interval=read_at(0))
    assert result.outcomes == {A: Outcome.CREATED}
    assert not result.records[A].is_known
    assert {change.kind for change in result.changes} == {ChangeKind.CREATED}
    assert len(result.changes) == 9


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (build_full_state("a"), Outcome.UNCHANGED),
        (build_full_state("a", version=1), Outcome.UPDATED),
        (build_full_state("a", children=1), Outcome.UPDATED),
        ({**build_full_state("a"), "new": 1}, Outcome.UPDATED),
        ({**build_full_state("a"), "deleted_at": "2025-06-01T00:00:00Z"}, Outcome.DELETED),
    ],
)
def test_later_word_is_told_by_what_it_changed(organization: Organization, state: Any, outcome: Outcome) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(1))
    assert apply_states(organization, state, interval=read_at(2)).outcomes == {A: outcome}
    assert apply_states(organization, build_full_state("a", version=5), interval=read_at(0)).outcomes == {
        A: Outcome.STALE
    }


def test_equal_further_fields_are_no_change(organization: Organization) -> None:
    apply_states(organization, {**build_full_state("a"), "new": 1}, interval=read_at(0))
    result = apply_states(organization, {**build_full_state("a"), "new": 1.0}, interval=read_at(1))
    assert result.outcomes == {A: Outcome.UNCHANGED}


def test_only_what_is_older_than_all_that_is_known_is_stale(organization: Organization) -> None:
    apply_customers(organization, build_customer("a"), interval=read_at(5))
    result = apply_states(organization, build_full_state("a", version=1), interval=read_at(4))
    assert result.outcomes == {A: Outcome.UPDATED}
    row = Customer.objects.get()
    assert row.metadata == build_customer("a")["metadata"]
    assert get_children() == 6
    assert apply_states(organization, build_full_state("a"), interval=read_at(3)).outcomes == {A: Outcome.STALE}


def test_absence_buries_a_customer_with_all_it_had(organization: Organization) -> None:
    apply_states(organization, build_full_state("a"), build_full_state("b"), interval=read_at(0))
    result = apply_absences(organization, "a", interval=read_at(1))
    assert result.outcomes == {A: Outcome.DELETED}
    assert get_children() == 0
    assert [row.pk for row in Customer.objects.all()] == [make_uuid("b")]
    assert apply_absences(organization, "a", interval=read_at(1)).outcomes == {A: Outcome.UNCHANGED}


@pytest.mark.parametrize("observe", [observe_customer, observe_state])
def test_deletion_that_polar_tells_of_buries_a_customer_with_all_it_had(
    organization: Organization, observe: Any
) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    word: Observation = observe(build_state("a", deleted_at="2025-06-01T00:00:00Z"), interval=read_at(1))
    assert apply([word], organization=organization).outcomes == {A: Outcome.DELETED}
    assert get_children() == 0
    assert not Customer.objects.exists()


def test_customer_listed_and_then_gone_is_created_as_deleted(organization: Organization) -> None:
    words = [observe_customer(build_customer("a"), interval=read_at(0)), observe_absence(A, interval=read_at(1))]
    assert apply(words, organization=organization).outcomes == {A: Outcome.CREATED}
    assert Customer.all_objects.get().deleted_at == at(1)


def test_customer_that_polar_tells_of_again_lives_again(organization: Organization) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    assert apply_states(organization, build_full_state("a"), interval=read_at(2)).outcomes == {A: Outcome.UPDATED}
    assert Customer.objects.get().deleted_at is None
    assert get_children() == 6


def test_every_customer_of_a_batch_is_marked_as_seen_by_its_run(organization: Organization) -> None:
    apply_states(organization, build_full_state("stale"), build_full_state("a"), interval=read_at(5))
    words = [observe_state(build_full_state(name), interval=read_at(4)) for name in ("stale", "new")]
    words += [observe_absence(A, interval=read_at(6))]
    result = apply(words, organization=organization, run_id=7, pass_number=2)
    assert result.records[A].seen_by_run is None
    assert set(CustomerObservation.objects.values_list("seen_by_run", "seen_in_pass")) == {(7, 2)}
    apply_states(organization, build_full_state("new"), interval=read_at(7))
    assert set(CustomerObservation.objects.values_list("seen_by_run", "seen_in_pass")) == {(7, 2)}


def test_synced_at_moves_with_any_change_and_with_nothing_else(organization: Organization) -> None:
    def get_synced_at() -> Any:
        return Customer.all_objects.get(pk=A).synced_at

    apply_states(organization, build_full_state("a"), interval=read_at(0))
    times = [get_synced_at()]
    apply_states(organization, build_full_state("a"), interval=read_at(1))
    assert get_synced_at() == times[0]
    changed = build_full_state("a")
    changed["active_subscriptions"][0]["meters"][0]["amount"] = 1
    for minute, state in enumerate([changed, build_state("a"), {**build_state("a"), "new": 1}], start=2):
        apply_states(organization, state, interval=read_at(minute))
        times.append(get_synced_at())
    assert times == sorted(set(times))


def test_batch_that_fails_leaves_nothing_behind(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    before = take_snapshot(without=())

    def fail(*arguments: Any, **named: Any) -> None:
        raise LookupError

    monkeypatch.setitem(apply.__globals__, "write_observation_records", fail)
    with pytest.raises(LookupError):
        apply_states(organization, build_full_state("a", version=1), build_full_state("b"), interval=read_at(1))
    assert take_snapshot(without=()) == before


def test_customer_from_a_dump_without_its_observation_is_written_like_any_other(organization: Organization) -> None:
    apply_states(organization, build_state("a"), interval=read_at(0))
    CustomerObservation.objects.all().delete()
    Customer.all_objects.update(synced_at=at(0))
    apply_states(organization, {**build_state("a"), **build_full_children()}, interval=read_at(1))
    row = Customer.objects.get()
    assert row.subscriptions.exists()
    assert row.synced_at is not None
    assert row.synced_at > at(0)


def build_full_children() -> dict[str, Any]:
    state = build_full_state("a")
    return {name: state[name] for name in ("active_subscriptions", "granted_benefits", "active_meters")}
