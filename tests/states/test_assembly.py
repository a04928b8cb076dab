"""Items are shrunk to what a state shows of them as soon as that is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.payloads.kinds import BENEFIT_GRANT, METER, SUBSCRIPTION, Kind, get_child_kinds, get_state_kinds
from polar_sync.states.assembly import CustomerParts, assemble, shrink
from polar_sync.states.fields import StateFields

NAMES = st.sampled_from(["id", "status", "product", "benefit", "benefit_type", "meters", "added", "price_id"])
METERS = st.lists(st.dictionaries(NAMES, st.integers() | st.none()) | st.none(), max_size=2)
ITEMS = st.dictionaries(
    NAMES, st.integers() | st.none() | st.fixed_dictionaries({"type": st.text(max_size=3)}), max_size=8
).flatmap(lambda item: st.builds(lambda meters: {**item, "meters": meters} if "meters" in item else item, METERS))
ALL_KINDS = [kind.name for kind in get_child_kinds()]
SHOWN = st.frozensets(NAMES, min_size=1)


@given(items=st.lists(ITEMS, max_size=3), shown=st.dictionaries(st.sampled_from(ALL_KINDS), SHOWN))
def test_state_of_shrunk_items_is_that_of_whole_ones(items: list[dict[str, Any]], shown: Any) -> None:
    everything = frozenset(["id", "status", "product", "benefit", "benefit_type", "added"])
    fields = StateFields(shown=shown, left_out={kind: everything - names for kind, names in shown.items()})
    before = json.dumps(items)
    for kind in get_state_kinds():
        whole, small = CustomerParts(), CustomerParts()
        whole.items[kind.name] = items
        small.items[kind.name] = [shrink(kind, item, fields) for item in items]
        assert assemble({}, small, fields) == assemble({}, whole, fields)
    assert json.dumps(items) == before, "items are others' too"


@pytest.mark.parametrize("kind", get_state_kinds(), ids=lambda kind: kind.name)
def test_item_stays_whole_until_a_state_has_shown_its_fields(kind: Kind) -> None:
    item = {"id": 1, "product": {"name": "Pro"}, "benefit": {"type": "discord"}, "meters": []}
    assert shrink(kind, item, StateFields()) is item


def test_what_states_leave_out_is_dropped_and_nothing_else() -> None:
    """A field that Polar has added since a state was seen must not look as if the list lacked it."""
    left_out = frozenset({"product", "customer", "benefit", "meter", "seats"})
    fields = StateFields(left_out=dict.fromkeys(ALL_KINDS, left_out))
    item = {
        "id": 1,
        "product": {},
        "seats": 3,
        "added": {"deep": 1},
        "meters": [{"id": 2, "meter": {}, "new": 2}, None],
    }
    small = {"id": 1, "added": {"deep": 1}, "meters": [{"id": 2, "new": 2}, None]}
    assert shrink(SUBSCRIPTION, item, fields) == small
    grant = {"id": 1, "customer": {}, "benefit": {"type": "discord", "metadata": {}}, "added": 1}
    flat = {"id": 1, "benefit_type": "discord", "benefit_metadata": {}, "added": 1}
    assert shrink(BENEFIT_GRANT, grant, fields) == flat
    assert shrink(METER, {"id": 1, "meter": {}, "customer": {}, "added": 1}, fields) == {"id": 1, "added": 1}
