"""What all lists of Polar have in common: paging by offset, the limit, sorting by several criteria.

Reference: https://polar.sh/docs/api-reference/introduction#pagination.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polar_sync.payloads.texts import read_integer
from polar_sync.testing.validation import Location, check_positive, make_detail
from polar_sync.testing.wire import Answer, Detail, RefusalError, dump_json

MAX_LIMIT = 100
DEFAULT_LIMIT = 10
# An offset beyond the database's 64-bit integer fails in the query.
MAX_OFFSET = 2**63 - 1

Values = dict[str, list[str]]


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
