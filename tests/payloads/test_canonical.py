from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from polar_sync.exceptions import PayloadError
from polar_sync.payloads import dump_canonical, is_equal, load_canonical
from polar_sync.payloads.canonical import MAX_DEPTH
from polar_sync.payloads.values import UnreadableNumber
from tests.payloads.strategies import JSON_VALUES

NO_TIMES: tuple[str, ...] = ()
TIMES = ("created_at",)


def nest(levels: int, *, leaf: Any = 1) -> Any:
    """That many objects and arrays in one another, by turns."""
    value = leaf
    for level in range(levels):
        value = {"k": value} if level % 2 else [value]
    return value


@given(value=JSON_VALUES)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    text = dump_canonical(value)
    assert text.isascii()
    assert "\x00" not in text
    # Not the values alone: True equals 1, 1.0 equals 1, and -0.0 equals 0.0.
    assert json.dumps(load_canonical(text), sort_keys=True) == json.dumps(value, sort_keys=True)


def test_order_of_keys_does_not_matter() -> None:
    assert dump_canonical({"b": 1, "a": {"d": 2, "c": 3}}) == dump_canonical({"a": {"c": 3, "d": 2}, "b": 1})


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), [10**5000], [UnreadableNumber("1e999")], nest(MAX_DEPTH + 1), nest(100_000)]
)
def test_what_cannot_be_kept_is_a_payload_error(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"JSON cannot say|nested too deeply|too large"):
        dump_canonical({"value": value} if not isinstance(value, dict) else value)


def test_nesting_up_to_the_limit_comes_back_and_can_be_compared() -> None:
    deep, other = nest(MAX_DEPTH), nest(MAX_DEPTH, leaf=2)
    assert load_canonical(dump_canonical(deep)) == deep
    one, two = (f'{{"k":{dump_canonical(value)}}}' for value in (deep, other))
    assert not is_equal(one, two, timestamps=NO_TIMES)
    # The same numbers, but not the same text: all of both is looked at.
    assert is_equal(one, one.replace("1", "1.0"), timestamps=NO_TIMES)


def test_breadth_is_not_taken_for_depth() -> None:
    wide: dict[str, Any] = {str(number): [{}] for number in range(5_000)}
    assert load_canonical(dump_canonical(wide)) == wide


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1e16}, {"a": 10**16}),
        ({"a": [{"b": 2.0}]}, {"a": [{"b": 2}]}),
        ({"created_at": "2025-01-01T00:00:00Z"}, {"created_at": "2025-01-01T01:00:00+01:00"}),
        ({"created_at": "2025-01-01T00:00:00.5Z"}, {"created_at": "2025-01-01T00:00:00.500000+00:00"}),
    ],
)
def test_objects_that_say_the_same_are_equal(one: Any, other: Any) -> None:
    assert is_equal(dump_canonical(one), dump_canonical(other), timestamps=TIMES)
    assert is_equal(dump_canonical(other), dump_canonical(one), timestamps=TIMES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": None}, {"a": False}),
        ({"a": None}, {"a": ""}),
        ({"a": []}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [1]}, {"a": [1, 1]}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}),
        ({"a": 2**53 + 1}, {"a": float(2**53)}),
        ({"a": 10**400}, {"a": 1e308}),
        ({"a": "é"}, {"a": "e\u0301"}),
        ({"a": "\x00"}, {"a": "\ufffd"}),
        ({"a": "\ud800"}, {"a": "\udc00"}),
        ({"name": "2025-01-01T00:00:00Z"}, {"name": "2025-01-01T00:00:00+00:00"}),
        ({"created_at": "2025-01-01T00:00:00Z"}, {"created_at": "2025-01-01T00:00:01Z"}),
        ({"created_at": "2025-01-01T00:00:00.1234567Z"}, {"created_at": "2025-01-01T00:00:00.1234568Z"}),
        ({"created_at": "2025-01-01T00:00:00Z"}, {"created_at": None}),
        ({"created_at": "soon"}, {"created_at": "later"}),
        ({"created_at": "soon"}, {"created_at": 5}),
    ],
)
def test_objects_that_say_something_else_are_not_equal(one: Any, other: Any) -> None:
    assert not is_equal(dump_canonical(one), dump_canonical(other), timestamps=TIMES)
    assert not is_equal(dump_canonical(other), dump_canonical(one), timestamps=TIMES)
