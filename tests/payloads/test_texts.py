"""Texts are read, and refused, as pydantic 2 does it on Polar's server; the cases were compared with it."""

from __future__ import annotations

from typing import Any

import pytest

from polar_sync.payloads.texts import TextError, read_integer, read_uuid4

ID = "7d444840-9dc0-4111-8111-000000000000"


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"])
def test_uuid_is_read_in_each_of_its_spellings(text: str) -> None:
    assert str(read_uuid4(text)) == ID


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid length: expected length 32 for simple format, found 0"),
        (f"{ID}\n", "invalid character: found `\n` at 37"),
        (f"urn:{ID}", "invalid character: found `u` at 1"),
        (f"URN:UUID:{ID}", "invalid character: found `U` at 1"),
        ("7d4448409dc0-4111-8111-000000000000", "invalid group count: expected 5, found 4"),
        (f"{{{ID.replace('-', '')}}}", "invalid group count: expected 5, found 1"),
        (f"{ID}0", "invalid group length in group 4: expected 12, found 13"),
        (f"{{{ID}0}}", "invalid group length in group 4: expected 12, found 15"),
        (f"urn:uuid:{ID[:-1]}x", "invalid character: found `x` at 36"),
        ("urn:uuid:x", "invalid character: found `x` at 10"),
        ("é", "invalid character: found `é` at 1"),
        ("\ud800", "invalid character: found `\ud800` at 1"),
    ],
)
def test_what_is_no_uuid_is_explained(text: str, reason: str) -> None:
    with pytest.raises(TextError) as caught:
        read_uuid4(text)
    assert (caught.value.kind, caught.value.context) == ("uuid_parsing", {"error": reason})


@pytest.mark.parametrize(
    "text",
    ["6ba7b811-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000000", ID.replace("-8111-", "-c111-")],
)
def test_uuid_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(TextError, match=r"^UUID version 4 expected$") as caught:
        read_uuid4(text)
    assert caught.value.context == {"expected_version": 4}


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), (" 1\n", 1), ("+1", 1), ("-0", 0), ("007", 7), ("1.0", 1), ("-1.00 ", -1), ("1_0.0", 10), ("0_1", 1)],
)
def test_whole_number_is_read(text: str, number: int) -> None:
    assert read_integer(text) == number


@pytest.mark.parametrize(
    "text", ["", "1.", ".0", "1.5", "1e2", "0x1", "--1", "+ 1", "_1", "1_", "1__0", "1.0_0", "٣", "inf", "true", "1,0"]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(TextError) as caught:
        read_integer(text)
    assert caught.value.kind == "int_parsing"


def test_number_is_as_long_as_python_reads_it() -> None:
    assert read_integer("0" * 5000 + "9" * 4300) == 10**4300 - 1
    with pytest.raises(TextError) as caught:
        read_integer("9" * 4301)
    details: Any = (caught.value.kind, str(caught.value))
    assert details == ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
