"""Children that move between customers: a child belongs to whom the latest state that holds it is of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polar_sync.models import (
    BenefitGrant,
    Customer,
    CustomerObservation,
    Meter,
    Organization,
    Subscription,
    SubscriptionMeter,
)
from polar_sync.store import Change, ChangeKind, Observation, Outcome, apply, observe_state
from tests.factories import (
    apply_states,
    build_full_state,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    build_subscription_meter,
    make_uuid,
    normalize_state,
    read_at,
)
from tests.store.support import law, minutes, rolled_back

CUSTOMERS = ("a", "b", "c")
SUBSCRIPTIONS = (0, 1)
OTHERS = ("meter of subscription", "grant", "meter")


@dataclass(frozen=True)
class Held:
    """What one state holds; `meter_under` is the subscription that has the one meter of a subscription there is."""

    subscriptions: frozenset[int] = frozenset()
    meter_under: int | None = None
    has_grant: bool = False
    has_meter: bool = False

    def list_children(self) -> set[str]:
        held = {f"subscription {number}" for number in self.subscriptions}
        flags = (self.meter_under is not None, self.has_grant, self.has_meter)
        return held | set(itertools.compress(OTHERS, flags))

    def without(self, children: Iterable[str]) -> Held:
        gone = set(children)
        subscriptions = frozenset(one for one in self.subscriptions if f"subscription {one}" not in gone)
        is_meter_gone = "meter of subscription" in gone or self.meter_under not in subscriptions
        return Held(
            subscriptions,
            None if is_meter_gone else self.meter_under,
            self.has_grant and "grant" not in gone,
            self.has_meter and "meter" not in gone,
        )

    def build(self, name: str, version: int) -> dict[str, Any]:
        meter = build_subscription_meter("m", amount=version)
        return build_state(
            name,
            subscriptions=[
                build_subscription(one, amount=version, meters=[meter] if one == self.meter_under else [])
                for one in sorted(self.subscriptions)
            ],
            grants=[build_grant("g", properties={"version": version})] if self.has_grant else [],
            meters=[build_meter("m", balance=version)] if self.has_meter else [],
        )


@st.composite
def draw_held(draw: st.DrawFn) -> Held:
    subscriptions = draw(st.frozensets(st.sampled_from(SUBSCRIPTIONS)))
    under = draw(st.sampled_from(sorted(subscriptions))) if bool(subscriptions) and draw(st.booleans()) else None
    return Held(subscriptions, under, draw(st.booleans()), draw(st.booleans()))


Timeline = list[tuple[str, Held]]


def finish(timeline: Timeline) -> Timeline:
    """Let every customer whose last word holds a child that somebody held later say that it is gone."""
    finished = list(timeline)
    for name in CUSTOMERS:
        last = dict(finished).get(name)
        if last is None:
            continue
        latest = {child: holder for holder, held in finished for child in held.list_children()}
        lost = {child for child in last.list_children() if latest[child] != name}
        if lost:
            finished.append((name, last.without(lost)))
    return finished


@st.composite
def draw_batches(draw: st.DrawFn) -> tuple[Timeline, list[list[Observation]]]:
    """States with distinct times, and the same in any order, some repeated, in batches of several customers."""
    timeline = finish(draw(st.lists(st.tuples(st.sampled_from(CUSTOMERS), draw_held()), min_size=2, max_size=7)))
    words = [
        observe_state(held.build(name, version), interval=read_at(version))
        for version, (name, held) in enumerate(timeline)
    ]
    repeated = draw(st.lists(st.sampled_from(words), max_size=3))
    batches: list[list[Observation]] = [[]]
    for word in draw(st.permutations([*words, *repeated])):
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(word)
    return timeline, batches


@settings(law, max_examples=100)
@given(drawn=draw_batches())
def test_owner_is_that_of_the_latest_state_in_any_order(
    organization: Organization, drawn: tuple[Timeline, list[list[Observation]]]
) -> None:
    timeline, batches = drawn
    expected = {name: held.build(name, version) for version, (name, held) in enumerate(timeline)}
    with rolled_back():
        for batch in batches:
            apply(batch, organization=organization)
        for name, state in expected.items():
            assert normalize_state(Customer.objects.get(pk=make_uuid(name)).state()) == normalize_state(state)
        held = {child for last in dict(timeline).values() for child in last.list_children()}
        kinds = (Subscription, SubscriptionMeter, BenefitGrant, Meter)
        assert sum(kind._default_manager.count() for kind in kinds) == len(held)


def get_owner(model: Any, name: str) -> UUID | None:
    owner = "subscription__customer" if model is SubscriptionMeter else "customer"
    row = model._default_manager.filter(pk=make_uuid(name)).values_list(owner, flat=True).first()
    return row if isinstance(row, UUID) else None


def build_moving(name: str, *, amount: int = 1) -> dict[str, Any]:
    meters = [build_subscription_meter(number, amount=amount) for number in range(2)]
    return build_state(name, subscriptions=[build_subscription("s", amount=amount, meters=meters)])


def test_subscription_takes_its_meters_along(organization: Organization) -> None:
    apply_states(organization, build_moving("a"), interval=read_at(0))
    result = apply_states(organization, build_moving("b"), interval=read_at(1))
    assert get_owner(Subscription, "subscription s") == make_uuid("b")
    assert {get_owner(SubscriptionMeter, f"subscription meter {n}") for n in range(2)} == {make_uuid("b")}
    [moved] = [change for change in result.changes if change.kind == ChangeKind.MOVED]
    assert (moved.model, moved.customer_id) == ("subscription", make_uuid("b"))
    assert _get_removed(result.changes) == {("subscription", make_uuid("a"))}


def _get_removed(changes: Iterable[Change]) -> set[tuple[str, UUID]]:
    return {(change.model, change.customer_id) for change in changes if change.kind == ChangeKind.REMOVED}


def test_meters_that_a_moving_subscription_lost_are_removed(organization: Organization) -> None:
    apply_states(organization, build_moving("a"), interval=read_at(0))
    state = build_state("b", subscriptions=[build_subscription("s")])
    apply_states(organization, state, interval=read_at(1))
    assert not SubscriptionMeter.objects.exists()


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_older_state_takes_nothing_from_a_later_one(organization: Organization, is_one_batch: bool) -> None:
    """Nor its meters, though that state holds them under a subscription of another id."""
    apply_states(organization, build_moving("a", amount=5), interval=read_at(5))
    older = build_moving("b", amount=4)
    older["active_subscriptions"][0]["meters"].append(build_subscription_meter("unheard of"))
    older["active_subscriptions"].append(
        build_subscription("t", meters=[build_subscription_meter(0), build_subscription_meter("own")])
    )
    words = [observe_state(older, interval=read_at(4)), observe_state(build_full_state("c"), interval=read_at(4))]
    for batch in [words] if is_one_batch else [[word] for word in words]:
        apply(batch, organization=organization)
    assert normalize_state(Customer.objects.get(pk=make_uuid("a")).state()) == normalize_state(
        build_moving("a", amount=5)
    )
    [left] = Customer.objects.get(pk=make_uuid("b")).subscriptions.all()
    assert left.pk == make_uuid("subscription t")
    assert [meter.pk for meter in left.meters.all()] == [make_uuid("subscription meter own")]


def test_customer_that_lost_a_child_is_marked_as_changed(organization: Organization) -> None:
    apply_states(organization, build_moving("a"), interval=read_at(0))
    before = Customer.objects.get(pk=make_uuid("a")).synced_at
    result = apply_states(organization, build_moving("b"), interval=read_at(1))
    after = Customer.objects.get(pk=make_uuid("a")).synced_at
    assert before is not None
    assert after is not None
    assert after > before
    assert result.outcomes == {make_uuid("b"): Outcome.CREATED}


def test_child_moves_within_a_batch(organization: Organization) -> None:
    apply_states(organization, build_moving("a"), build_state("b"), interval=read_at(0))
    result = apply_states(organization, build_state("a"), build_moving("b"), interval=read_at(1))
    assert get_owner(Subscription, "subscription s") == make_uuid("b")
    assert result.outcomes == {make_uuid("a"): Outcome.UPDATED, make_uuid("b"): Outcome.UPDATED}
    assert _get_removed(result.changes) == {("subscription", make_uuid("a"))}


def test_meter_moves_between_two_subscriptions_of_one_customer(organization: Organization) -> None:
    def build(holder: str) -> dict[str, Any]:
        meters = [build_subscription_meter("m")]
        return build_state(
            "a", subscriptions=[build_subscription(one, meters=meters if one == holder else []) for one in "st"]
        )

    apply_states(organization, build("s"), interval=read_at(0))
    apply_states(organization, build("t"), interval=read_at(1))
    assert normalize_state(Customer.objects.get().state()) == normalize_state(build("t"))


def test_meter_survives_the_end_of_the_subscription_it_came_from(organization: Organization) -> None:
    meters = [build_subscription_meter("m")]
    apply_states(
        organization, build_state("a", subscriptions=[build_subscription("s", meters=meters)]), interval=read_at(0)
    )
    state = build_state("a", subscriptions=[build_subscription("t", meters=meters)])
    apply_states(organization, state, interval=read_at(1))
    assert normalize_state(Customer.objects.get().state()) == normalize_state(state)


def test_child_of_a_customer_without_an_observation_moves(organization: Organization) -> None:
    """As after a dump of some tables only was loaded."""
    apply_states(organization, build_moving("a"), interval=read_at(5))
    CustomerObservation.objects.all().delete()
    apply_states(organization, build_moving("b"), interval=read_at(1))
    assert get_owner(Subscription, "subscription s") == make_uuid("b")


def test_moved_child_of_the_same_moment_stays_where_it_is(organization: Organization) -> None:
    on_b, on_a = (build_state(name, grants=[build_grant("g")]) for name in ("b", "a"))
    apply([observe_state(on_b, interval=minutes(0))], organization=organization)
    result = apply([observe_state(on_a, interval=minutes(1))], organization=organization)
    a, b = make_uuid("a"), make_uuid("b")
    assert result.unresolved.keys() == {a}
    assert Customer.objects.get(pk=b).benefit_grants.count() == 1
    decided = apply([observe_state(on_a, interval=read_at(1))], organization=organization)
    assert decided.outcomes == {a: Outcome.UPDATED}
    assert Customer.objects.get(pk=a).benefit_grants.count() == 1
