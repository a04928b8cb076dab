"""JSON values as hostile as JSON allows: any code point, numbers of any size, anything nested in anything."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE_TEXTS = ("", "\x00", "\ud800", "a\udfff\x00b", "\U0001f600", "\u202e", "e\u0301", "'\"\\\n", "null", "n" * 600)
HOSTILE_NUMBERS = (0, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, -(2**63) - 1, 10**30, 10**1200, 0.1 + 0.2)

TEXTS = st.text(st.characters(), max_size=12) | st.sampled_from(HOSTILE_TEXTS)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(HOSTILE_NUMBERS)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
