"""The token of a client: put on every request, shown to nobody."""

from __future__ import annotations

from collections.abc import Mapping

from requests import PreparedRequest
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from polar_sync.exceptions import ConfigurationError

MASK = "[token]"


class Credential(AuthBase):
    """Puts `Authorization: Bearer <token>` on a request.

    As an auth object and not as a header, because requests lets a `.netrc` replace the header but not this.
    `kind` names the token in messages, such as "access token". An unusable token raises ConfigurationError,
    which does not show it.
    """

    __slots__ = ("_token", "kind")

    def __init__(self, token: str, *, kind: str) -> None:
        if not _is_text(token):
            raise ConfigurationError(f"The {kind} is empty; give the one that Polar showed when it was made.")
        if not all("!" <= character <= "~" for character in token):
            raise ConfigurationError(
                f"The {kind} holds a space, a line break or another character that no token of Polar has; "
                "copy it again without anything around it."
            )
        self._token = token
        self.kind = kind

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token on the request."""
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r

    def __repr__(self) -> str:
        return f"<Credential: {self.kind}>"

    def redact_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers, whose names ignore case, without the token."""
        return CaseInsensitiveDict({name: value.replace(self._token, MASK) for name, value in headers.items()})

    def redact_bytes(self, body: bytes) -> bytes:
        """Return `body` without the token."""
        return body.replace(self._token.encode(), MASK.encode())


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
