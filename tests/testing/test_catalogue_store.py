"""Tests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.testing.catalogue_store import Prepared, split_json
from polar_sync.testing.http import dump_json

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def prepare_some(value: Any, choose: Any) -> Any:
    if choose():
        return Prepared(dump_json(value))
    if isinstance(value, dict):
        return {key: prepare_some(item, choose) for key, item in value.items()}
    return [prepare_some(item, choose) for item in value] if isinstance(value, list) else value


@given(value=ANY_JSON, data=st.data())
def test_pieces_are_the_json_of_the_whole(value: Any, data: st.DataObject) -> None:
    pieces = split_json(prepare_some(value, lambda: data.draw(st.booleans())))
    assert b"".join(pieces) == dump_json(value)


def test_prepared_bytes_are_shared_and_not_copied() -> None:
    part = Prepared(b'{"a":1}')
    assert split_json({"x": part, "y": [part]})[1] is part.body
    assert json.loads(b"".join(split_json({"x": part, "y": [part]}))) == {"x": {"a": 1}, "y": [{"a": 1}]}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set is no JSON"):
        split_json({"x": {1}})
