from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.payloads import values
from tests.payloads.strategies import JSON_VALUES, TEXTS

READERS = (
    values.read_uuid,
    values.read_text,
    values.read_label,
    values.read_key,
    values.read_boolean,
    values.read_integer,
    values.read_number,
    values.read_timestamp,
    values.read_json,
)


@given(value=JSON_VALUES)
def test_no_json_value_makes_a_reader_fail(value: Any) -> None:
    for read in READERS:
        read(value)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-01-02T03:04:05Z", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05.6Z", datetime(2025, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)),
        ("2025-01-02T03:04:05.123456Z", datetime(2025, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2025-01-02T03:04:05.123456789Z", datetime(2025, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2025-01-02T03:04:05+05:30", datetime(2025, 1, 1, 21, 34, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02", datetime(2025, 1, 2, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_timestamp_is_read_in_utc(text: str, instant: datetime) -> None:
    found = values.read_timestamp(text)
    assert found == instant
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2025-13-01T00:00:00Z",
        "2025-01-01T00:00:00Z\x00",
        "\ud800",
        "0001-01-01T00:00:00+01:00",  # before the first instant there is
        "9999-12-31T23:59:59-01:00",  # after the last
        "-0001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        1735689600,
        True,
        None,
        {},
    ],
)
def test_what_is_no_timestamp_reads_as_none(value: Any) -> None:
    assert values.read_timestamp(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2500.0, 2500),
        (2**63, None),
        (-(2**63) - 1, None),
        (10**400, None),
        (1e308, None),
        (0.5, None),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        ("12", None),
        (None, None),
    ],
)
def test_integer_is_read_where_64_bits_hold_it(value: Any, number: int | None) -> None:
    assert values.read_integer(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.1 + 0.2, 0.1 + 0.2),
        (1e308, 1e308),
        (-0.0, 0.0),
        (7, 7.0),
        (10**400, None),
        (float("-inf"), None),
        (False, None),
        ("1", None),
    ],
)
def test_number_is_read_where_a_double_holds_it(value: Any, number: float | None) -> None:
    found = values.read_number(value)
    assert found == number
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_only_true_and_false_are_booleans(value: Any) -> None:
    assert values.read_boolean(value) is None
    assert values.read_boolean(True) is True
    assert values.read_boolean(False) is False


def test_uuid_is_read_in_the_form_polar_writes_only() -> None:
    text = "4f6c0a3e-0d5b-4c8e-9a55-2f1f0e4b7c11"
    assert values.read_uuid(text) == values.read_uuid(text.upper()) == UUID(text)
    for other in (text.replace("-", ""), f"{{{text}}}", f"urn:uuid:{text}", f"{text}\n", text[:-1], 12, None):
        assert values.read_uuid(other) is None


@given(text=TEXTS)
def test_text_as_a_database_holds_it_differs_only_where_it_must(text: str) -> None:
    clean = values.clean_text(text)
    assert len(clean) == len(text)
    for before, after in zip(text, clean, strict=True):
        assert after == (values.REPLACEMENT if before == "\x00" or "\ud800" <= before <= "\udfff" else before)


def test_label_is_cut_to_what_an_index_holds() -> None:
    label = values.read_label("\U0001f600" * 10_000)
    assert label == "\U0001f600" * values.MAX_KEY_LENGTH
    assert len(label.encode()) < 2_704 - 200


@given(
    keys=st.lists(TEXTS | st.integers(500, 600).map(lambda length: "k" * length), min_size=2, max_size=2, unique=True)
)
def test_two_keys_never_become_one(keys: list[str]) -> None:
    one, other = map(values.project_key, keys)
    assert one != other
    assert max(len(one), len(other)) <= values.MAX_KEY_LENGTH
    assert values.clean_text(one) == one


def test_key_that_a_database_can_hold_is_itself() -> None:
    assert values.project_key("usr_1337") == "usr_1337"
    assert values.project_key("k" * values.MAX_KEY_LENGTH) == "k" * values.MAX_KEY_LENGTH


def test_json_is_cleaned_in_depth() -> None:
    value = {"a\x00": ["\ud800", {"b": "c\x00"}], "n": None, "f": 1.5}
    assert values.read_json(value) == {"a\ufffd": ["\ufffd", {"b": "c\ufffd"}], "n": None, "f": 1.5}


@pytest.mark.parametrize("value", [10**1001, [{"n": -(10**1001)}]])
def test_json_with_a_number_beyond_databases_reads_as_none(value: Any) -> None:
    assert values.read_json(value) is None


def test_json_nested_beyond_databases_reads_as_none() -> None:
    value: Any = "leaf"
    for _ in range(900):
        value = [value]
    assert values.read_json({"deep": value}) is None
    assert values.read_json([[["shallow"]]]) == [[["shallow"]]]


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEARBY = st.datetimes(NOON.replace(tzinfo=None) - timedelta(days=5), NOON.replace(tzinfo=None) + timedelta(days=5))
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SPELLINGS = (
    lambda moment: moment.isoformat(),
    lambda moment: moment.isoformat().replace("+00:00", "Z"),
    lambda moment: moment.strftime("%Y%m%dT%H%M%S%z"),
    lambda moment: moment.strftime("%G-W%V-%uT%H:%M:%S%z"),
)
MOMENTS = st.builds(
    lambda moment, offset, spell: spell(moment.replace(tzinfo=UTC).astimezone(offset)),
    NEARBY,
    OFFSETS,
    st.sampled_from(SPELLINGS),
)
