"""Whether a delivery was signed by Polar, and signing one as Polar does.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, but for the key: Polar's is
the whole text of the secret, its prefix `whsec_` included, where the specification decodes what follows the prefix.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook

from polar_sync.exceptions import SignatureError
from polar_sync.tokens import Token

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
# Seconds up to the year 5138, written as they are signed: without a sign, a fraction or a leading zero.
_SECONDS = re.compile(r"[1-9][0-9]{0,10}")
# Printable ASCII without the dot, which separates what is signed.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,200}")
_VERSION = "v1,"
# Of one delivery: a sender signs with two secrets while one replaces the other.
_MAX_SIGNATURES = 16
_MAX_SIGNATURE_LENGTH = 2048


def get_time() -> datetime:
    """The present time on this machine's clock, which may have been set since this process began."""
    return datetime.now(UTC)


def verify(body: bytes, headers: Mapping[str, str], *, secrets: Sequence[Token], tolerance: timedelta) -> None:
    """Check that a delivery was signed with one of these secrets, at most `tolerance` ago or ahead of our clock.

    `headers` may have any case. Else raises `SignatureError`, whatever headers and body hold. That a delivery was
    received before is not noticed here: the header `webhook-id` tells.
    """
    message_id = _read_id(headers)
    signed_at = _read_time(headers, tolerance=tolerance)
    signatures = _read_signatures(headers)
    if not secrets:
        raise SignatureError("no webhook secret is configured for this organization")
    if not _is_signed(body, signatures, message_id=message_id, signed_at=signed_at, secrets=secrets):
        raise SignatureError("no signature is of this body with one of the configured secrets")


def sign(body: bytes, *, message_id: str, signed_at: datetime, secret: Token) -> dict[str, str]:
    """The three headers that Polar sends with a body; the time is cut to seconds."""
    signature = _compute_signature(body.decode(), message_id=message_id, signed_at=signed_at, secret=secret)
    return {ID: message_id, TIMESTAMP: str(int(signed_at.timestamp())), SIGNATURE: signature}


def _read_id(headers: Mapping[str, str]) -> str:
    message_id = _get_header(headers, ID)
    if not _ID.fullmatch(message_id):
        raise SignatureError(f"the header {ID} is no id")
    return message_id


def _read_time(headers: Mapping[str, str], *, tolerance: timedelta) -> datetime:
    text = _get_header(headers, TIMESTAMP)
    if not _SECONDS.fullmatch(text):
        raise SignatureError(f"the header {TIMESTAMP} is no number of seconds")
    signed_at = datetime.fromtimestamp(int(text), tz=UTC)
    age = get_time() - signed_at
    if abs(age) > tolerance:
        side = "old" if age > timedelta(0) else "ahead of this machine's clock"
        raise SignatureError(
            f"it was signed at a time that is {abs(age).total_seconds():.0f} s {side}; "
            f"{tolerance.total_seconds():.0f} s are allowed"
        )
    return signed_at


def _read_signatures(headers: Mapping[str, str]) -> list[str]:
    text = _get_header(headers, SIGNATURE)
    if len(text) > _MAX_SIGNATURE_LENGTH or not text.isascii():
        raise SignatureError(f"the header {SIGNATURE} is no list of signatures")
    signatures = [each for each in text.split(" ") if each.startswith(_VERSION)]
    if not signatures or len(signatures) > _MAX_SIGNATURES:
        raise SignatureError(f"the header {SIGNATURE} holds {len(signatures)} signatures of version 1")
    return signatures


def _get_header(headers: Mapping[str, str], name: str) -> str:
    found = [value for key, value in headers.items() if key.lower() == name]
    if len(found) > 1:
        raise SignatureError(f"the header {name} is there {len(found)} times")
    if not found or not found[0]:
        raise SignatureError(f"the header {name} is missing")
    return found[0]


def _is_signed(
    body: bytes, signatures: Sequence[str], *, message_id: str, signed_at: datetime, secrets: Sequence[Token]
) -> bool:
    """Whether one of the signatures is right; an error is raised elsewhere, as this frame holds the right ones."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        # Polar signs JSON, which is UTF-8; and the library signs texts only.
        return False
    expected = [
        _compute_signature(text, message_id=message_id, signed_at=signed_at, secret=secret)
        for secret in secrets
        if not secret.is_empty
    ]
    matches = [hmac.compare_digest(given, right) for given in signatures for right in expected]
    return any(matches)


def _compute_signature(text: str, *, message_id: str, signed_at: datetime, secret: Token) -> str:
    # Base64, as the library decodes what it is given.
    key = base64.b64encode(secret.reveal().encode()).decode()
    # In UTC, as the library reads the hour of any other zone as if it were UTC's.
    return Webhook(key).sign(msg_id=message_id, timestamp=signed_at.astimezone(UTC), data=text)
