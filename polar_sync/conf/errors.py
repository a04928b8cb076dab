"""What can be wrong with a setting, and how to say so without showing it."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Collection, Iterator, Mapping

from polar_sync.exceptions import ConfigurationError

NAME = "POLAR_SYNC"
# Longer than every key there is, shorter than every token that Polar gives out.
KEY_LENGTH = 30
# Python refuses to write integers of more than 4,300 digits.
LARGEST_SHOWN = 10**20


class Mistake(enum.Enum):
    """The ways in which settings can be wrong; the system checks give each an id."""

    MISSING = enum.auto()
    UNKNOWN_KEY = enum.auto()
    WRONG_VALUE = enum.auto()
    BAD_NAME = enum.auto()
    EMPTY_TOKEN = enum.auto()
    UNREADABLE_TOKEN = enum.auto()
    BAD_SERVER = enum.auto()
    BAD_ORGANIZATION_ID = enum.auto()
    BAD_REQUESTS_PER_MINUTE = enum.auto()
    SAME_TOKEN = enum.auto()
    UNKNOWN_ORGANIZATION = enum.auto()
    EMPTY_WEBHOOK_SECRET = enum.auto()
    UNREADABLE_WEBHOOK_SECRET = enum.auto()


class SettingError(ConfigurationError):
    """One setting is wrong. `mistake` says in which way; the message names the setting and what is allowed."""

    def __init__(self, message: str, *, mistake: Mistake) -> None:
        super().__init__(message)
        self.mistake = mistake


def describe_value(value: object) -> str:
    """A value for a message: itself where it is a number or a truth, else only its type."""
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_SHOWN):
        return repr(value)
    return f"of type {type(value).__name__}"


def name_nearest(given: object, *, known: Collection[str]) -> str:
    """`, did you mean "…"?` with the name of `known` that is nearest to `given`, or the list of all where none is."""
    matches = difflib.get_close_matches(str(given).upper(), {name.upper() for name in known}, n=1, cutoff=0.5)
    for name in known:
        if matches and name.upper() == matches[0]:
            return f'; did you mean "{name}"?'
    if not known:
        return "."
    names = ", ".join(f'"{name}"' for name in sorted(known))
    return f"; known are {names}."


def find_unknown_keys(given: Mapping[str, object], *, path: str, known: Collection[str]) -> Iterator[SettingError]:
    """An error for each key of `given` that is not in `known`, naming the nearest that is."""
    for key in given:
        if key not in known:
            yield SettingError(
                f"{path} has no key {show_key(key)}{name_nearest(key, known=known)}",
                mistake=Mistake.UNKNOWN_KEY,
            )


def show_key(key: object) -> str:
    """A key as text. A long one is cut: someone may have written a token where a name belongs."""
    text = str(key)
    return f'"{text}"' if len(text) <= KEY_LENGTH else f'"{text[:8]}…"'
