"""The token of a client: put on every request, shown to nobody, and taken out of what a server echoes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from requests import PreparedRequest
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from polar_sync.exceptions import ConfigurationError
from polar_sync.payloads.values import clean_text
from polar_sync.tokens import Token

HEADER = "Authorization"
MASK = "[token]"
# Shorter than any token of Polar's. A word that short is searched for in errors only: in a customer it could be data.
SHORTEST_IN_DATA = 10
# A printable character of ASCII by its number, for which JSON has no need, and those that have an escape of their own.
_NEEDLESS_ESCAPE = re.compile(rb"\\u00[2-7]")
_ESCAPABLE = re.compile(rb'["\\/]')


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


class Redactor:
    """Replaces one token by `MASK`."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def redact_text(self, text: str) -> str:
        """Return the text without the token."""
        return text.replace(self._token.reveal(), MASK)

    def redact_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers, whose names ignore case, without the token, and as texts that a database takes."""
        return CaseInsensitiveDict({name: self._redact_header(value) for name, value in headers.items()})

    def redact_data(self, body: bytes, value: Any) -> Any:
        """Return `value`, which was read from the JSON `body`, without the token; changes it in place.

        The texts are looked at only where the body can hold the token, as it stands or escaped.
        """
        return replace_texts(value, self.redact_text) if self._is_suspect(body) else value

    def redact_error(self, value: Any) -> Any:
        """Return the value of an error's body without the token, its texts such as a database takes."""
        return replace_texts(value, lambda text: clean_text(self.redact_text(text)))

    def _redact_header(self, value: str) -> str:
        redacted = clean_text(self.redact_text(value))
        return MASK if "%" in redacted and self._token.reveal() in unquote(redacted) else redacted

    def _is_suspect(self, body: bytes) -> bool:
        token = self._token.reveal().encode()
        if len(token) < SHORTEST_IN_DATA:
            return False
        if token in body:
            return True
        return b"\\" in body and (bool(_ESCAPABLE.search(token)) or bool(_NEEDLESS_ESCAPE.search(body)))


def replace_texts(value: Any, replace: Callable[[str], str]) -> Any:
    """Return a JSON value with each text and key replaced; lists and objects are changed in place, however deep."""
    root = [value]
    queue: list[Any] = [root]
    while queue:
        each = queue.pop()
        if isinstance(each, list):
            each[:] = [replace(item) if isinstance(item, str) else item for item in each]
            queue += [item for item in each if isinstance(item, list | dict)]
        else:
            items = [(replace(key), replace(item) if isinstance(item, str) else item) for key, item in each.items()]
            each.clear()
            each.update(items)
            queue += [item for item in each.values() if isinstance(item, list | dict)]
    return root[0]
