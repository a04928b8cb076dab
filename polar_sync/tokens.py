"""A token of Polar's as this package carries it: masked, so that no log, error report or message can show it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NoReturn


class Token:
    """Holds a token without being a text: `str`, `repr` and formatting say nothing of it, and it cannot be pickled.

    Settings and clients take one wherever they take the text. A copy is the token itself. Nothing is checked here:
    `is_empty` and `is_sendable` tell what is wrong with a value. Only what sends the token may `reveal()` it.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str | Token) -> None:
        self.__value: Any = value.reveal() if isinstance(value, Token) else value

    def reveal(self) -> str:
        """The text itself: for the header of a request, and for taking it out of what a server says."""
        text: str = self.__value
        return text

    @property
    def is_empty(self) -> bool:
        """Whether there is no text."""
        return not isinstance(self.__value, str) or not self.__value

    @property
    def is_sendable(self) -> bool:
        """Whether an HTTP header can carry it as it is: printable ASCII without spaces."""
        return not self.is_empty and all("!" <= character <= "~" for character in self.__value)

    def get_digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.__value.encode("utf-8", "surrogatepass")).hexdigest()

    def __repr__(self) -> str:
        return "<Token>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self.get_digest(), other.get_digest())

    def __hash__(self) -> int:
        return hash((Token, self.__value))

    def __copy__(self) -> Token:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Token:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A token cannot be pickled: it would leave this process in clear text.")
