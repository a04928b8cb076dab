from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from polar_sync.payloads import STATE_AGE, Interval
from polar_sync.payloads.values import read_timestamp
from polar_sync.store import observe_absence, observe_assembled, observe_customer, observe_state
from polar_sync.store.observations import REPLICA_LAG, merge_observations
from polar_sync.store.ordering import CLOCK_TOLERANCE, Source
from tests.factories import at, build_customer, build_full_state, build_grant, build_state, make_uuid, read_at

INTERVAL = Interval(at(0), at(0) + timedelta(seconds=1))
REPLICATED = INTERVAL.widen(before=REPLICA_LAG)


def test_state_may_be_as_old_as_polar_keeps_it() -> None:
    reading = observe_state(build_full_state("a"), interval=INTERVAL).reading
    assert (reading.interval, reading.source) == (INTERVAL.widen(before=STATE_AGE), Source.STATE)


def test_lists_customers_and_absences_may_be_those_of_a_replica_that_is_behind() -> None:
    customer = observe_customer(build_customer("a"), interval=INTERVAL)
    assembled = observe_assembled(
        build_state("a"), listed=customer, interval=INTERVAL, outside_state=(), unreliable_fields={}
    )
    for observation in (customer, assembled, observe_absence(make_uuid("a"), interval=INTERVAL)):
        assert (observation.reading.interval, observation.reading.source) == (REPLICATED, Source.READ)


def test_answer_to_a_write_is_exact() -> None:
    written = observe_customer(build_customer("a"), interval=INTERVAL, is_written=True)
    for observation in (written, observe_absence(make_uuid("a"), interval=INTERVAL, is_written=True)):
        assert (observation.reading.interval, observation.reading.source) == (INTERVAL, Source.WRITTEN)


@pytest.mark.parametrize("key", ["created_at", "modified_at"])
def test_state_is_no_older_than_the_newest_change_in_it(key: str) -> None:
    later: dict[str, Any] = {key: (at(0) - timedelta(minutes=10)).isoformat()}
    for state in (build_state("a", **later), build_state("a", grants=[build_grant("g", **later)])):
        interval = observe_state(state, interval=INTERVAL).reading.interval
        assert interval == Interval(at(0) - timedelta(minutes=10), INTERVAL.end)


def test_change_beyond_the_answer_is_not_believed() -> None:
    for lead, is_believed in ((CLOCK_TOLERANCE, True), (CLOCK_TOLERANCE + timedelta(seconds=1), False)):
        customer = build_customer("a", modified_at=(INTERVAL.end + lead).isoformat())
        expected = Interval.at(INTERVAL.end) if is_believed else REPLICATED
        assert observe_customer(customer, interval=INTERVAL).reading.interval == expected
    assert read_timestamp("9999-12-31T23:59:59Z") is not None


def test_change_in_one_list_says_nothing_of_the_others() -> None:
    changed = build_state("a", grants=[build_grant("g", modified_at=INTERVAL.end.isoformat())])
    listed = observe_customer(build_customer("a"), interval=INTERVAL)
    assembled = observe_assembled(changed, listed=listed, interval=INTERVAL, outside_state=(), unreliable_fields={})
    assert assembled.reading.interval == REPLICATED


def test_observations_are_folded_to_one_a_customer_in_the_order_of_ids() -> None:
    names = [str(number) for number in range(20)]
    words = [observe_customer(build_customer(name), interval=read_at(0)) for name in names]
    words += [observe_state(build_full_state(name), interval=read_at(1)) for name in names]
    assert list(merge_observations(words)) == list(merge_observations(words[::-1])) == sorted(map(make_uuid, names))


def test_later_observation_holds_for_each_part_on_its_own() -> None:
    customer = observe_customer(build_customer("a", new=1), interval=read_at(3))
    state = observe_state(build_full_state("a"), interval=read_at(2))
    absence = observe_absence(make_uuid("a"), interval=read_at(1))
    for words in ([customer, state, absence], [absence, state, customer], [state, absence, customer]):
        [merged] = merge_observations(words).values()
        assert (merged.own, merged.own_reading) == (customer.customer, customer.reading)
        assert (merged.extra, merged.extra_at) == ('{"new":1}', at(3))
        assert (len(merged.children.by_kind["benefit_grant"]), merged.children_reading) == (2, state.reading)
        assert merged.absence is absence
