"""Several writers at once, in real transactions on PostgreSQL."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from polar_sync.models import Customer, Organization, Subscription, SubscriptionMeter
from polar_sync.store import Outcome
from polar_sync.store.pruning import prune_customers
from tests.factories import (
    apply_absences,
    apply_customers,
    apply_states,
    build_customer,
    build_full_state,
    build_state,
    build_subscription,
    build_subscription_meter,
    create_organization,
    make_uuid,
    normalize_state,
    read_at,
)

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="SQLite lets one writer in at a time: nothing to test"
    ),
    pytest.mark.django_db(transaction=True),
]
TIMEOUT = 180


@pytest.fixture
def organization(transactional_db: None) -> Organization:
    return create_organization()


def run_together(*works: Callable[[], Any]) -> list[Any]:
    """Each in a thread with a connection of its own; the first error is raised."""

    def run(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(run, work) for work in works]
        return [future.result(TIMEOUT) for future in futures]


def wait_for_blocked(number: int = 1) -> None:
    """Until that many connections to this database wait for a lock."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the same answer to its end
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            [found] = cursor.fetchone()
        if found >= number:
            return
        time.sleep(0.005)
    pytest.fail("nobody came to wait for a lock")


@contextmanager
def held_open(work: Callable[[], Any]) -> Iterator[None]:
    """What this wrote is committed only once another connection has come to wait for it."""
    with transaction.atomic():
        work()
        yield
        wait_for_blocked()


def race(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Start `second` while `first` is written but not committed; returns what `second` came to."""
    is_written = threading.Event()

    def go_first() -> None:
        with held_open(first):
            is_written.set()

    def go_second() -> Any:
        assert is_written.wait(TIMEOUT)
        return second()

    return run_together(go_first, go_second)[1]


def test_first_observations_in_opposite_order_never_deadlock(organization: Organization) -> None:
    rounds, size = 50, 20
    gate = threading.Barrier(2, timeout=TIMEOUT)

    def work(direction: int) -> None:
        for number in range(rounds):
            names = [f"{number}.{one}" for one in range(size)][::direction]
            gate.wait()
            apply_states(organization, *[build_state(name) for name in names], interval=read_at(direction))

    run_together(lambda: work(1), lambda: work(-1))
    assert Customer.objects.count() == rounds * size


def test_overlapping_batches_with_moves_never_deadlock(organization: Organization) -> None:
    """And once everybody has had a last word, everything is where that says."""
    names = [f"customer {number}" for number in range(8)]
    workers, rounds = 4, 20

    def build(name: str, held: list[int], version: int) -> dict[str, Any]:
        return build_state(
            name,
            subscriptions=[
                build_subscription(one, amount=version, meters=[build_subscription_meter(one, amount=version)])
                for one in held
            ],
        )

    def work(worker: int) -> None:
        rng = random.Random(worker)
        for number in range(rounds):
            version = number * workers + worker
            pool = rng.sample(range(6), 6)
            states = [build(name, pool[n : n + 2], version) for n, name in enumerate(rng.sample(names, 4))]
            apply_states(organization, *states, interval=read_at(version))

    run_together(*[lambda worker=worker: work(worker) for worker in range(workers)])
    last = [build(name, [number] if number < 6 else [], 1_000) for number, name in enumerate(names)]
    apply_states(organization, *last, interval=read_at(1_000))
    found = {row.pk: row.state() for row in Customer.objects.with_state()}
    assert [normalize_state(found[make_uuid(name)]) for name in names] == list(map(normalize_state, last))
    assert Subscription.objects.count() == SubscriptionMeter.objects.count() == 6


def build_holder(name: str, *, amount: int = 0) -> dict[str, Any]:
    meters = [build_subscription_meter("m", amount=amount)]
    return build_state(name, subscriptions=[build_subscription("s", amount=amount, meters=meters)])


def get_owner() -> Any:
    return Subscription.objects.get().customer_id


@pytest.mark.parametrize(("minute", "owner"), [(1, "b"), (5, "c")])
def test_child_that_moves_while_it_is_claimed_stays_with_the_later_state(
    organization: Organization, minute: int, owner: str
) -> None:
    apply_states(organization, build_holder("a"), build_state("b"), build_state("c"), interval=read_at(0))
    race(
        lambda: apply_states(organization, build_holder("b"), interval=read_at(2)),
        lambda: apply_states(organization, build_holder("c"), interval=read_at(minute)),
    )
    assert get_owner() == make_uuid(owner)


@pytest.mark.parametrize(("minute", "owner"), [(1, "b"), (5, "c")])
def test_child_first_seen_in_two_states_at_once_goes_to_the_later_one(
    organization: Organization, minute: int, owner: str
) -> None:
    """Nobody held it before, so there is no owner whose lock the two would meet at."""
    race(
        lambda: apply_states(organization, build_holder("b", amount=2), interval=read_at(2)),
        lambda: apply_states(organization, build_holder("c", amount=minute), interval=read_at(minute)),
    )
    assert get_owner() == make_uuid(owner)
    assert Subscription.objects.get().amount == SubscriptionMeter.objects.get().amount == max(2, minute)


@pytest.mark.parametrize("is_older", [True, False])
def test_word_that_waits_for_another_is_held_against_it(organization: Organization, is_older: bool) -> None:
    apply_customers(organization, build_customer("a"), interval=read_at(0))
    result = race(
        lambda: apply_customers(organization, build_customer("a", name="first"), interval=read_at(2)),
        lambda: apply_customers(
            organization, build_customer("a", name="second"), interval=read_at(1 if is_older else 3)
        ),
    )
    assert Customer.objects.get().name == ("first" if is_older else "second")
    assert result.outcomes[make_uuid("a")] == (Outcome.STALE if is_older else Outcome.UPDATED)


def test_customer_first_seen_twice_at_once_is_created_once(organization: Organization) -> None:
    result = race(
        lambda: apply_states(organization, build_full_state("a"), interval=read_at(1)),
        lambda: apply_states(organization, build_full_state("a"), interval=read_at(2)),
    )
    assert result.outcomes == {make_uuid("a"): Outcome.UNCHANGED}


def test_first_observation_that_is_rolled_back_leaves_the_other_its_own(organization: Organization) -> None:
    is_written = threading.Event()

    def go_first() -> None:
        with transaction.atomic():
            apply_states(organization, build_full_state("a"), interval=read_at(2))
            is_written.set()
            wait_for_blocked()
            transaction.set_rollback(True)

    def go_second() -> Any:
        assert is_written.wait(TIMEOUT)
        return apply_states(organization, build_full_state("a"), interval=read_at(1))

    result = run_together(go_first, go_second)[1]
    assert result.outcomes == {make_uuid("a"): Outcome.CREATED}
    assert normalize_state(Customer.objects.get().state()) == normalize_state(build_full_state("a"))


@pytest.mark.parametrize("action", ["scrub", "delete"])
def test_word_about_a_customer_who_is_being_pruned_is_kept(
    organization: Organization, settings: Any, action: str
) -> None:
    settings.POLAR_SYNC = {"DELETED_CUSTOMERS": action, "DELETED_CUSTOMERS_AFTER_DAYS": 0}
    apply_customers(organization, build_customer("a"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    result = race(
        prune_customers,
        lambda: apply_states(organization, build_full_state("a"), interval=read_at(2)),
    )
    assert result.outcomes == {make_uuid("a"): Outcome.CREATED if action == "delete" else Outcome.UPDATED}
    row = Customer.objects.get()
    assert normalize_state(row.state()) == normalize_state(build_full_state("a"))
    assert row.scrubbed_at is None


def test_customer_who_is_written_while_others_prune_is_not_scrubbed(organization: Organization, settings: Any) -> None:
    settings.POLAR_SYNC = {"DELETED_CUSTOMERS": "scrub", "DELETED_CUSTOMERS_AFTER_DAYS": 0}
    apply_customers(organization, build_customer("a"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    pruned = race(lambda: apply_states(organization, build_full_state("a"), interval=read_at(2)), prune_customers)
    assert pruned == ("scrub", 0)
    assert Customer.objects.get().email == "a@example.com"


def test_customers_who_are_forgotten_while_batches_bring_them_back_break_no_batch(
    organization: Organization, settings: Any
) -> None:
    settings.POLAR_SYNC = {"DELETED_CUSTOMERS": "delete", "DELETED_CUSTOMERS_AFTER_DAYS": 0}
    rounds, is_over = 20, threading.Event()

    def prune() -> None:
        while not is_over.is_set():
            prune_customers()

    def work(worker: int) -> None:
        rng = random.Random(worker)
        try:
            for number in range(rounds):
                version = number * 3 + worker
                names = rng.sample(range(12), 6)
                apply_states(organization, *[build_full_state(name) for name in names], interval=read_at(version))
                apply_absences(organization, *rng.sample(names, 3), interval=read_at(version + 0.5))
        finally:
            is_over.set()

    run_together(prune, *[partial(work, worker) for worker in range(3)])
