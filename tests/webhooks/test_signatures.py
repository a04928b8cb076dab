"""Only what Polar signed lately is taken, and whatever else arrives is refused in one way."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.exceptions import SignatureError
from polar_sync.tokens import Token
from polar_sync.webhooks import signatures
from polar_sync.webhooks.signatures import sign, verify
from tests.exposure import expose

SECRET = "whsec_for_tests_only_0123456789"
OLD_SECRET = "chosen-by-a-person"
ID = "176ae663-6dc6-4715-88a7-b1a39068cef6"
NOW = datetime(2026, 11, 20, 23, 21, 9, 500_000, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)
BODY = '{"type":"customer.created","data":{"name":"Ünïcödé"}}'.encode()


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "get_time", lambda: NOW)


def make_headers(**changed: str) -> dict[str, str]:
    headers = sign(BODY, message_id=ID, signed_at=NOW, secret=Token(SECRET))
    return headers | {f"webhook-{name}": value for name, value in changed.items()}


def check(headers: Mapping[str, str], *, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> None:
    verify(body, headers, secrets=[Token(each) for each in secrets], tolerance=TOLERANCE)


def test_signature_is_made_with_the_whole_text_of_the_secret() -> None:
    signed = b"%s.%d.%s" % (ID.encode(), int(NOW.timestamp()), BODY)
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert make_headers() == {
        "webhook-id": ID,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": f"v1,{expected}",
    }


def test_what_is_signed_is_taken() -> None:
    check(make_headers())
    check({name.title(): value for name, value in make_headers().items()})


def test_time_may_be_given_in_any_zone() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert sign(BODY, message_id=ID, signed_at=there, secret=Token(SECRET)) == make_headers()


def test_any_of_several_secrets_and_of_several_signatures_is_enough() -> None:
    other = sign(BODY, message_id=ID, signed_at=NOW, secret=Token(OLD_SECRET))["webhook-signature"]
    mine = make_headers()["webhook-signature"]
    check(make_headers(), secrets=(OLD_SECRET, SECRET))
    check(make_headers(), secrets=(SECRET, OLD_SECRET))
    check(make_headers(signature=f"{other} v1a,ignored {mine}"))
    check(make_headers(signature=f"{mine} {other}"))


@pytest.mark.parametrize("secrets", [(), ("",), (OLD_SECRET,), (SECRET + "x",), (SECRET.removeprefix("whsec_"),)])
def test_signature_of_no_configured_secret_is_refused(secrets: tuple[str, ...]) -> None:
    with pytest.raises(SignatureError, match="configured"):
        check(make_headers(), secrets=secrets)


@pytest.mark.parametrize("seconds", [-300, -1, 0, 300])
def test_time_within_the_tolerance_is_taken(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    headers = make_headers()
    signed_at = NOW.replace(microsecond=0)
    monkeypatch.setattr(signatures, "get_time", lambda: signed_at + timedelta(seconds=seconds))
    check(headers)


@pytest.mark.parametrize(("seconds", "side"), [(-301, "ahead of this machine's clock"), (301, "old")])
def test_time_beyond_the_tolerance_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: int, side: str) -> None:
    headers = make_headers()
    signed_at = NOW.replace(microsecond=0)
    monkeypatch.setattr(signatures, "get_time", lambda: signed_at + timedelta(seconds=seconds))
    with pytest.raises(SignatureError, match=f"301 s {side}; 300 s are allowed"):
        check(headers)


def test_tolerance_is_the_one_that_is_given() -> None:
    old = sign(BODY, message_id=ID, signed_at=NOW - timedelta(hours=1), secret=Token(SECRET))
    verify(BODY, old, secrets=[Token(SECRET)], tolerance=timedelta(hours=2))
    with pytest.raises(SignatureError, match="60 s are allowed"):
        verify(BODY, old, secrets=[Token(SECRET)], tolerance=timedelta(seconds=60))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_header_that_is_missing_empty_or_there_twice_is_named(name: str) -> None:
    headers = make_headers()
    value = headers.pop(name)
    with pytest.raises(SignatureError, match=f"the header {name} is missing"):
        check(headers)
    with pytest.raises(SignatureError, match=f"the header {name} is missing"):
        check(headers | {name: ""})
    with pytest.raises(SignatureError, match=f"the header {name} is there 2 times"):
        check(headers | {name: value, name.upper(): value})


@pytest.mark.parametrize(
    "timestamp",
    [
        f"0{int(NOW.timestamp())}",
        f"+{int(NOW.timestamp())}",
        f"{int(NOW.timestamp())}.5",
        f" {int(NOW.timestamp())}",
        f"{int(NOW.timestamp())}\n",
        "".join(chr(0x0660 + int(digit)) for digit in str(int(NOW.timestamp()))),
        f"{int(NOW.timestamp())},{int(NOW.timestamp())}",
        *("-1", "0", "nan", "inf", "1e9", "1e400", "1_795_216_869", "9" * 11, "9" * 12, "9" * 5000, "x"),
    ],
)
def test_timestamp_that_is_not_as_polar_writes_it_is_refused(timestamp: str) -> None:
    with pytest.raises(SignatureError):
        check(make_headers(timestamp=timestamp))


@pytest.mark.parametrize("message_id", [f"{ID}.1", f"{ID}, {ID}", "é", "a b", "\x00", "\ud800", "x" * 256])
def test_id_that_is_none_is_refused(message_id: str) -> None:
    with pytest.raises(SignatureError, match="webhook-id is no id"):
        check(make_headers(id=message_id))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text.removeprefix("v1,"),
        lambda text: text.replace("v1,", "v2,"),
        lambda text: text.replace("v1,", "v1a,"),
        lambda text: text.replace("v1,", "v1"),
        lambda text: f"{text},{text}",
        lambda text: f"{text}é",
        lambda text: f"{text}\u2028",
        lambda text: f"{text}=",
        lambda text: text.swapcase(),
        lambda text: " ".join([text] * 17),
        lambda text: f"{'x' * 2048} {text}",
        lambda text: "v1,",
        lambda text: " ",
        lambda text: "v1,\ud800",
    ],
)
def test_signature_that_is_not_as_polar_writes_it_is_refused(change: Any) -> None:
    with pytest.raises(SignatureError):
        check(make_headers(signature=change(make_headers()["webhook-signature"])))


@pytest.mark.parametrize("body", [b"", b"\xff", BODY + b" ", BODY[:-1], b"\xef\xbb\xbf" + BODY, b"\xed\xa0\x80"])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureError, match="no signature is of this body"):
        check(make_headers(), body=body)


def test_error_leads_neither_to_the_secret_nor_to_the_signature_that_would_be_right() -> None:
    headers = make_headers()
    right = headers["webhook-signature"]
    with pytest.raises(SignatureError) as caught:
        check(headers | {"webhook-signature": "v1,wrong"})
    shown = expose(caught.value)
    assert "v1,wrong" in shown
    assert SECRET not in shown
    assert right not in shown
    assert "wrong" not in caught.value.reason


VALID = sign(BODY, message_id=ID, signed_at=NOW, secret=Token(OLD_SECRET))
NAMES = st.sampled_from([*VALID, *(name.upper() for name in VALID), "Content-Type"]) | st.text()
VALUES = st.one_of(
    st.sampled_from([*VALID.values()]),
    st.text(),
    st.integers().map(str),
    st.floats().map(str),
    st.binary().map(lambda value: f"v1,{base64.b64encode(value).decode()}"),
    st.lists(st.sampled_from([VALID["webhook-signature"], "v1,", "v1", ",", "=", "v1,====", "é"])).map(" ".join),
)


@given(headers=st.dictionaries(NAMES, VALUES), changed=st.dictionaries(st.sampled_from([*VALID]), VALUES))
@example(headers={}, changed={"webhook-signature": "v1,A"})
@example(headers={}, changed={"webhook-timestamp": "9" * 400})
def test_whatever_was_not_signed_is_refused_and_nothing_else_is_raised(
    headers: dict[str, str], changed: dict[str, str]
) -> None:
    for given_headers in (headers, {**VALID, **changed}, {**headers, **VALID}):
        with pytest.raises(SignatureError):
            check(given_headers)


@given(body=st.binary())
def test_any_body_is_refused_under_the_signature_of_another(body: bytes) -> None:
    with pytest.raises(SignatureError):
        check(make_headers(), body=body + b"\x00")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(text=TEXTS, secret=st.text(st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
@example(text="{}", secret="d2hzZWNf")
@example(text="", secret="whsec_")
def test_any_text_and_secret_that_are_signed_are_taken(text: str, secret: str) -> None:
    headers = sign(text.encode(), message_id=ID, signed_at=NOW, secret=Token(secret))
    verify(text.encode(), headers, secrets=[Token(secret)], tolerance=TOLERANCE)


def read_deliveries(recordings: Path) -> tuple[Token, list[dict[str, Any]]]:
    with gzip.open(recordings / "webhooks.jsonl.gz", "rt", encoding="utf-8") as lines:
        first, *deliveries = map(json.loads, lines)
    return Token(first["secret"]), deliveries


def change_character(text: str, rng: random.Random, *, alphabet: str, start: int = 0) -> str:
    index = rng.randrange(start, len(text))
    return text[:index] + rng.choice(alphabet.replace(text[index], "")) + text[index + 1 :]


def test_recorded_deliveries_verify_and_none_of_which_a_byte_was_changed(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, deliveries = read_deliveries(recordings)
    rng = random.Random(405)
    base64_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    assert len(deliveries) == 405
    for each in deliveries:
        received_at = datetime.fromtimestamp(each["received_at"], tz=UTC)
        monkeypatch.setattr(signatures, "get_time", lambda: received_at)  # noqa: B023 - called within the loop
        headers, body = each["headers"], each["body"].encode()
        verify(body, headers, secrets=[secret], tolerance=timedelta(seconds=60))
        index = rng.randrange(len(body))
        other = bytes([*body[:index], body[index] ^ (1 << rng.randrange(8)), *body[index + 1 :]])
        changed = {
            "webhook-id": change_character(headers["webhook-id"], rng, alphabet="0123456789abcdef"),
            # Not its first digits: the time alone would refuse them.
            "webhook-timestamp": change_character(headers["webhook-timestamp"], rng, alphabet="0123456789", start=9),
            # Not the padding.
            "webhook-signature": change_character(
                headers["webhook-signature"][:-1], rng, alphabet=base64_alphabet, start=3
            )
            + "=",
        }
        tries = [(other, headers), *((body, headers | {name: value}) for name, value in changed.items())]
        for tried_body, tried_headers in tries:
            with pytest.raises(SignatureError, match="no signature is of this body"):
                verify(tried_body, tried_headers, secrets=[secret], tolerance=timedelta(seconds=60))
