"""The filters of Polar's lists: how the text of a query is checked, and which rows it lets through."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from polar_sync.payloads.texts import read_bool
from polar_sync.testing.paging import check_choice
from polar_sync.testing.rows import Row
from polar_sync.testing.validation import Location, check_bool_text, check_uuids, read_uuid
from polar_sync.testing.wire import Detail

Get = Callable[[Row], Any]


def take_any_text(_: str, *, location: Location) -> list[Detail]:  # noqa: ARG001  every check has the same arguments
    """No text is wrong."""
    return []


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter that narrows a list.

    `get` gives a row's value, None for one that fits nothing; `read` turns a checked text into such a value; `fits`
    compares the value with all those asked for. Of a parameter that is not repeated the last value counts. `check`
    looks at one text, `check_all` at all of them.
    """

    get: Get
    check: Callable[..., list[Detail]] = take_any_text
    check_all: Callable[..., list[Detail]] | None = None
    read: Callable[[str], Any] = str
    fits: Callable[[Any, Container[Any]], bool] = lambda value, wanted: value in wanted
    is_repeated: bool = True

    def check_values(self, name: str, values: Sequence[str]) -> list[Detail]:
        """What is wrong with what was sent under `name`."""
        if self.check_all is not None:
            return self.check_all(values, location=("query", name))
        if not self.is_repeated:
            return self.check(values[-1], location=("query", name))
        return [
            detail
            for index, value in enumerate(values)
            for detail in self.check(value, location=("query", name, index))
        ]

    def select(self, rows: list[Row], values: Sequence[str]) -> list[Row]:
        """The rows that fit any of the checked values."""
        wanted = frozenset(map(self.read, values if self.is_repeated else values[-1:]))
        get, fits = self.get, self.fits
        return [row for row in rows if fits(get(row), wanted)]


def filter_ids(name: str) -> Filter:
    """Rows whose field `name` is one of these UUIDs."""
    return Filter(get=lambda row: row.get_text(name), check_all=check_uuids, read=_read_known_uuid)


def filter_choices(name: str, choices: Sequence[str]) -> Filter:
    """Rows whose field `name` is one of these texts of a closed set."""

    def check(value: str, *, location: Location) -> list[Detail]:
        return check_choice(value, choices=choices, location=location)

    return Filter(get=lambda row: row.get_text(name), check=check)


def filter_truth(get: Get) -> Filter:
    """Rows for which `get` gives the truth value asked for."""
    return Filter(get=get, check=check_bool_text, read=_read_bool, is_repeated=False)


def filter_words(name: str) -> Filter:
    """Rows whose field `name` holds the text, compared without case."""
    return Filter(
        get=lambda row: (row.get_text(name) or "").lower(),
        read=str.lower,
        fits=lambda value, wanted: any(one in value for one in wanted),  # type: ignore[attr-defined]
        is_repeated=False,
    )


def _read_bool(text: str) -> bool:
    return read_bool(text)


def _read_known_uuid(text: str) -> str:
    return read_uuid(text) or text
