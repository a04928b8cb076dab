from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.testing.validation import check_email, check_positive, check_uuid, read_uuid


@given(value=st.uuids(version=4))
def test_every_spelling_of_a_uuid_is_read(value: uuid.UUID) -> None:
    for text in (str(value), value.hex, value.urn, str(value).upper(), f"{{{value}}}"):
        assert read_uuid(text) == str(value)
        assert check_uuid(text, location=("path", "id")) == []


@given(text=st.text(max_size=40))
@example("१" * 32)
@example("7d444840-9dc0-4111-8111-00000000000")
def test_text_is_either_a_uuid_or_explained(text: str) -> None:
    wrong = check_uuid(text, location=("path", "id"))
    assert bool(wrong) == (read_uuid(text) is None)
    if wrong:
        assert wrong[0]["input"] == text
        assert wrong[0]["msg"] == f"Input should be a valid UUID, {wrong[0]['ctx']['error']}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("abcx", "invalid character: found `x` at 4"),
        ("abc", "invalid length: expected length 32 for simple format, found 3"),
        ("a-b-c", "invalid group count: expected 5, found 3"),
        ("7d444840-9dc-4111-8111-000000000000", "invalid group length in group 1: expected 4, found 3"),
    ],
)
def test_broken_uuid_is_explained(text: str, reason: str) -> None:
    assert check_uuid(text, location=("path", "id"))[0]["ctx"] == {"error": reason}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, None) for text in ("7", " 7 ", "+2", "1.0", "1_0.00", "007")),
        *((text, "greater_than") for text in ("0", "-1", "-0.0")),
        *((text, "int_parsing") for text in ("", "1.5", "٣", "--1", "1__0", "_1", "1e2")),
        ("9" * 4301, "int_parsing_size"),
    ],
)
def test_whole_numbers_are_read(text: str, kind: str | None) -> None:
    wrong = check_positive(text, location=("query", "page"))
    assert [detail["type"] for detail in wrong] == ([kind] if kind else [])


@pytest.mark.parametrize("value", ["a@b.co", "Ünï@bücher.example", "a+b@sub.example.org"])
def test_emails_are_taken(value: str) -> None:
    assert check_email(value, location=("body",)) == []


@pytest.mark.parametrize("value", ["", "a", "@b.co", "a@", "a b@c.de", "a@b@c.de", "a@localhost", 7, None])
def test_other_things_are_no_emails(value: object) -> None:
    assert len(check_email(value, location=("body",))) == 1
