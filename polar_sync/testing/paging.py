"""What all lists of Polar have in common: filters, paging by offset, the limit, sorting by several criteria.

Reference: https://polar.sh/docs/api-reference/introduction#pagination.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from polar_sync.payloads.texts import read_bool, read_integer
from polar_sync.testing.http import Answer, Detail, RefusalError, dump_json
from polar_sync.testing.rows import Row
from polar_sync.testing.validation import Location, check_bool_text, check_positive, check_uuids, make_detail, read_uuid

MAX_LIMIT = 100
DEFAULT_LIMIT = 10
# An offset beyond the database's 64-bit integer fails in the query.
MAX_OFFSET = 2**63 - 1

Values = dict[str, list[str]]
Get = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of how many; a limit over 100 is 100 already."""

    page: int = 1
    limit: int = DEFAULT_LIMIT

    @property
    def window(self) -> slice:
        """Where the page lies in the whole list."""
        start = (self.page - 1) * self.limit
        return slice(start, start + self.limit)


def group_values(pairs: Iterable[tuple[str, str]]) -> Values:
    """The values of each parameter of a query, in the order sent."""
    values: Values = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def check_paging(values: Values) -> list[Detail]:
    """What is wrong with `page` and `limit`; the last of a repeated one counts."""
    wrong: list[Detail] = []
    for name in ("page", "limit"):
        for text in values.get(name, ())[-1:]:
            wrong += check_positive(text, location=("query", name))
    return wrong


def read_paging(values: Values) -> Paging:
    """Read checked parameters; raises Polar's 500 to a page number beyond 64 bits."""
    page = read_integer(values["page"][-1]) if "page" in values else 1
    limit = min(read_integer(values["limit"][-1]), MAX_LIMIT) if "limit" in values else DEFAULT_LIMIT
    if (page - 1) * limit > MAX_OFFSET:
        raise RefusalError(Answer(500, b"Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")]))
    return Paging(page, limit)


def check_choice(value: str, *, choices: Sequence[str], location: Location) -> list[Detail]:
    """One of a closed set of texts."""
    if value in choices:
        return []
    quoted = [f"'{one}'" for one in choices]
    expected = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return [make_detail("enum", location, f"Input should be {expected}", value, expected=expected)]


def write_page(items: bytes, *, total: int, paging: Paging) -> bytes:
    """The JSON of a page whose items are written, with commas between them."""
    pagination = {"total_count": total, "max_page": math.ceil(total / paging.limit)}
    return b'{"items":[' + items + b'],"pagination":' + dump_json(pagination) + b"}"


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
