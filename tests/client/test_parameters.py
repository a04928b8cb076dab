from __future__ import annotations

from decimal import Decimal
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client.parameters import encode_query, format_metadata_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(pairs=st.lists(st.tuples(TEXT.filter(bool), TEXT)))
def test_any_query_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_qsl(encode_query(pairs), keep_blank_values=True, strict_parsing=bool(pairs)) == pairs


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_written_without_an_exponent_and_without_loss(value: float) -> None:
    text = format_metadata_value(value)
    assert "e" not in text.lower()
    assert Decimal(text) == Decimal(repr(value))
    assert float(text) == value


@given(value=st.integers() | st.booleans() | st.text())
def test_other_values_are_their_json_text_without_quotes(value: int | bool | str) -> None:
    assert format_metadata_value(value) == (str(value).lower() if isinstance(value, bool) else str(value))
