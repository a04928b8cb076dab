"""Items are shrunk to what a state shows of them as soon as that is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.states import StateFields
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, assemble, shrink

KINDS = ("subscriptions", "grants", "meters")
NAMES = st.sampled_from(["id", "status", "product", "benefit", "benefit_type", "meters", "added", "price_id"])
METERS = st.lists(st.dictionaries(NAMES, st.integers() | st.none()) | st.none(), max_size=2)
ITEMS = st.dictionaries(
    NAMES, st.integers() | st.none() | st.fixed_dictionaries({"type": st.text(max_size=3)}), max_size=8
).flatmap(lambda item: st.builds(lambda meters: {**item, "meters": meters} if "meters" in item else item, METERS))
LEARNED = st.dictionaries(
    st.sampled_from([known.SUBSCRIPTION, known.SUBSCRIPTION_METER, known.GRANT, known.METER]),
    st.frozensets(NAMES, min_size=1),
)


@given(items=st.lists(ITEMS, max_size=3), learned=LEARNED)
def test_state_of_shrunk_items_is_that_of_whole_ones(items: list[dict[str, Any]], learned: Any) -> None:
    fields = StateFields(learned=learned)
    before = json.dumps(items)
    for kind in KINDS:
        whole, small = Parts(), Parts()
        setattr(whole, kind, items)
        setattr(small, kind, [shrink(kind, item, fields) for item in items])
        assert assemble({}, small, fields) == assemble({}, whole, fields)
    assert json.dumps(items) == before, "items are others' too"


@pytest.mark.parametrize("kind", KINDS)
def test_item_stays_whole_until_a_state_has_shown_its_fields(kind: str) -> None:
    item = {"id": 1, "product": {"name": "Pro"}, "benefit": {"type": "discord"}, "meters": [{"meter": {}}]}
    assert shrink(kind, item, StateFields()) is item


def test_subscription_with_meters_waits_for_theirs() -> None:
    fields = StateFields(learned={known.SUBSCRIPTION: frozenset({"id", "meters"})})
    assert shrink("subscriptions", {"id": 1, "product": {}, "meters": []}, fields) == {"id": 1, "meters": []}
    metered = {"id": 1, "product": {}, "meters": [{"id": 2, "meter": {}}]}
    assert shrink("subscriptions", metered, fields) is metered
    fields.learned[known.SUBSCRIPTION_METER] = frozenset({"id"})
    assert shrink("subscriptions", metered, fields) == {"id": 1, "meters": [{"id": 2}]}
