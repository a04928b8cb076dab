"""The token of a client: put on every request, shown to nobody."""

from __future__ import annotations

from requests import PreparedRequest
from requests.auth import AuthBase

from polar_sync.exceptions import ConfigurationError
from polar_sync.tokens import Token

HEADER = "Authorization"


class Credential(AuthBase):
    """Puts `Authorization: Bearer <token>` on a request.

    As an auth object and not as a header, because requests lets a `.netrc` replace the header but not this.
    `kind` names the token in messages, such as "access token". An unusable token raises ConfigurationError,
    which does not show it.
    """

    __slots__ = ("kind", "token")

    def __init__(self, token: Token, *, kind: str) -> None:
        self.token = token
        self.kind = kind
        if token.is_empty:
            raise ConfigurationError(f"The {kind} is empty; give the one that Polar showed when it was made.")
        if not token.is_sendable:
            raise ConfigurationError(
                f"The {kind} holds a space, a line break or another character that no token of Polar has; "
                "copy it again without anything around it."
            )

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token on the request."""
        r.headers[HEADER] = f"Bearer {self.token.reveal()}"
        return r

    def __repr__(self) -> str:
        return f"<Credential: {self.kind}>"
