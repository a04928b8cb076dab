"""What Polar answered, read as the contract has it."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient, PolarObject, sessions
from polar_sync.client.responses import parse_json
from polar_sync.exceptions import UnreadableAnswerError
from polar_sync.payloads import Interval
from polar_sync.payloads.values import UnreadableNumber
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
MOMENT = Interval.at(datetime(2026, 11, 20, tzinfo=UTC))


def test_object_is_a_dict_that_knows_its_time() -> None:
    found = PolarObject({"id": ID}, interval=MOMENT)
    assert found == {"id": ID}
    assert json.loads(json.dumps(found)) == {"id": ID}
    for again in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (again, again.interval) == ({"id": ID}, MOMENT)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_body_that_never_ends_is_not_kept(
    polar: ScriptedServer, client: PolarClient, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    monkeypatch.setattr(sessions, "LARGEST_BODY", 100_000)
    polar.answer(Reply(pieces=[b" " * 50_000] * 4, is_chunked=is_chunked), Reply(body={}))
    with pytest.raises(UnreadableAnswerError, match="more than 100000 bytes"):
        client.customers.get(ID)
    assert client.customers.get(ID) == {}


def test_answer_keeps_what_json_can_say(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=rb'{"a": "\ud800\u0000", "b": 1e308, "c": -0.0, "d": 12345678901234567890123}'))
    found = client.customers.get(ID)
    assert (found["a"], found["b"], str(found["c"]), found["d"]) == (
        "\ud800\x00",
        1e308,
        "-0.0",
        12345678901234567890123,
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES)
def test_any_value_is_read_as_it_was_written(value: Any) -> None:
    found = parse_json(json.dumps(value).encode())
    # Not the values alone: True equals 1, and 1.0 equals 1.
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud800 \u0000"', "\ud800 \x00"),
        (b"1e308", 1e308),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        ('"\U0001f600é"'.encode(), "\U0001f600é"),
    ],
)
def test_hostile_but_legal_text_is_read(text: bytes, value: Any) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999", "-1e999"])
def test_number_that_python_cannot_hold_costs_nothing_beside_it(number: str) -> None:
    assert parse_json(f'{{"a": [1, {number}, 2.5, "x"], "b": 12}}'.encode()) == {
        "a": [1, UnreadableNumber(number), 2.5, "x"],
        "b": 12,
    }


def test_unreadable_number_is_named_without_all_its_digits() -> None:
    assert repr(UnreadableNumber("9" * 5000)) == f"the number {'9' * 20}… of 5000 characters, which is too large"


def test_negative_zero_keeps_its_sign() -> None:
    assert str(parse_json(b"-0.0")) == "-0.0"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no valid JSON"),
        (b'{"a": ', "no valid JSON"),
        (b"{} {}", "no valid JSON"),
        (b"<html></html>", "no valid JSON"),
        (b"\xef\xbb\xbf{}", "no valid JSON"),
        (b'"caf\xe9"', "no valid UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
    ],
)
def test_what_is_no_json_is_refused_with_a_reason_that_keeps_no_body(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert type(caught.value) is ValueError
    assert caught.value.__context__ is None
    assert len(str(caught.value)) < 250
