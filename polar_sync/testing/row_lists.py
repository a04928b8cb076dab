"""A list of rows as Polar answers it: reading the query, filtering, sorting, paging, writing."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from polar_sync.testing.filters import Filter
from polar_sync.testing.paging import Values, check_choice, check_paging, group_values, read_paging, write_page
from polar_sync.testing.rows import Row, SortKey
from polar_sync.testing.validation import read_uuid
from polar_sync.testing.wire import Detail, refuse_request

get_default_key: Callable[[Row], SortKey] = attrgetter("key")


@dataclass(frozen=True, slots=True)
class RowList:
    """One list: its filters by the name of their parameter, its sort keys by the name of the criterion.

    `not_served` are parameters that Polar has and this server does not: a request with one of them is a
    `NotImplementedError`, as an answer without the filter would be a wrong one.
    """

    sorting: str
    sort_keys: Mapping[str, Callable[[Row], SortKey]]
    filters: Mapping[str, Filter]
    not_served: frozenset[str] = frozenset()

    def check(self, values: Values) -> list[Detail]:
        """What is wrong with the parameters of a request; unknown ones are ignored."""
        wrong: list[Detail] = []
        for name, sent in values.items():
            if name in self.filters:
                wrong += self.filters[name].check_values(name, sent)
            elif name.partition("[")[0] in self.not_served:
                raise NotImplementedError(f"the fake Polar server does not filter by {name!r}: leave it out")
        wrong += check_paging(values)
        choices = [f"{sign}{name}" for name in self.sort_keys for sign in ("", "-")]
        for index, one in enumerate(values.get("sorting", ())):
            wrong += check_choice(one, choices=choices, location=("query", "sorting", index))
        return wrong


@dataclass(frozen=True, slots=True)
class RowQuery:
    """A request for a page of a list, checked."""

    spec: RowList
    values: Values

    @property
    def customer_ids(self) -> list[str] | None:
        """The customers asked for, None for all."""
        asked = self.values.get("customer_id")
        return None if asked is None else [read_uuid(one) or one for one in asked]

    def select(self, rows: list[Row], *, is_indexed: bool = False) -> list[Row]:
        """The rows that pass every filter; `is_indexed` rows are known to be of the customers asked for."""
        for name, sent in self.values.items():
            if name in self.spec.filters and not (is_indexed and name == "customer_id"):
                rows = self.spec.filters[name].select(rows, sent)
        return rows

    def sort(self, rows: list[Row], *, ties: random.Random | None) -> list[Row]:
        """Sort in place; with `ties`, equal rows come in a new random order at each call."""
        if ties is not None:
            ties.shuffle(rows)
        for criterion in reversed(self.values.get("sorting") or [self.spec.sorting]):
            is_default = criterion == self.spec.sorting
            key = get_default_key if is_default else self.spec.sort_keys[criterion.removeprefix("-")]
            rows.sort(key=key, reverse=criterion.startswith("-"))
        return rows

    def write(self, rows: list[Row]) -> bytes:
        """The JSON of the page, from sorted rows."""
        paging = read_paging(self.values)
        pieces: list[bytes] = []
        for row in rows[paging.window]:
            pieces.append(b",")
            pieces += row.parts
        return write_page(b"".join(pieces[1:]), total=len(rows), paging=paging)


def read_row_query(spec: RowList, pairs: list[tuple[str, str]]) -> RowQuery:
    """Read the query of a request; raises the 422 that Polar answers to wrong values."""
    values = group_values(pairs)
    wrong = spec.check(values)
    if wrong:
        raise refuse_request(wrong)
    return RowQuery(spec, values)
