from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from polar_sync.payloads.values import read_timestamp
from polar_sync.store import observe_absence, observe_customer, observe_state
from polar_sync.store.observations import fold
from tests.factories import at, build_customer, build_full_state, build_grant, build_state, make_uuid


@pytest.mark.parametrize("key", ["created_at", "modified_at"])
def test_observation_is_as_late_as_the_newest_change_in_it(key: str) -> None:
    """The `Date` header is a lower bound, and may be off."""
    later: dict[str, Any] = {key: "2026-01-01T12:00:00Z"}
    expected = read_timestamp(later[key])
    assert observe_customer(build_customer("a", **later), as_of=at(0)).as_of == expected
    assert observe_state(build_state("a", **later), as_of=at(0)).as_of == expected
    assert observe_state(build_state("a", grants=[build_grant("g", **later)]), as_of=at(0)).as_of == expected


def test_observation_is_no_earlier_than_its_answer() -> None:
    assert observe_customer(build_customer("a"), as_of=at(0)).as_of == at(0)
    assert observe_customer({"id": str(make_uuid("a"))}, as_of=at(0)).as_of == at(0)


def test_change_a_day_after_its_answer_is_not_believed() -> None:
    for lead, is_believed in ((timedelta(hours=24), True), (timedelta(hours=24, seconds=1), False)):
        customer = build_customer("a", modified_at=(at(0) + lead).isoformat())
        assert observe_customer(customer, as_of=at(0)).as_of == (at(0) + lead if is_believed else at(0))


def test_words_are_folded_to_one_a_customer_in_the_order_of_ids() -> None:
    names = [str(number) for number in range(20)]
    words = [observe_customer(build_customer(name), as_of=at(0)) for name in names]
    words += [observe_state(build_full_state(name), as_of=at(1)) for name in names]
    assert list(fold(words)) == list(fold(words[::-1])) == sorted(map(make_uuid, names))


def test_later_word_holds_for_each_part_on_its_own() -> None:
    customer = observe_customer(build_customer("a", new=1), as_of=at(3))
    state = observe_state(build_full_state("a"), as_of=at(2))
    absence = observe_absence(make_uuid("a"), as_of=at(1))
    for words in ([customer, state, absence], [absence, state, customer], [state, absence, customer]):
        [folded] = fold(words).values()
        assert (folded.own, folded.own_at) == (customer.customer, at(3))
        assert (folded.extra, folded.extra_at) == ('{"new":1}', at(3))
        assert (len(folded.children.grants), folded.children_at) == (2, at(2))
        assert folded.absent_at is None
