"""The six lists beside that of the customers, answered for one organization."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from polar_sync.testing.list_specs import BENEFITS, CUSTOMER_METERS, GRANTS, METERS, PRODUCTS, SUBSCRIPTIONS
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.row_lists import RowList, read_row_query
from polar_sync.testing.rows import Row, RowIndex, rank_field
from polar_sync.testing.shelf import stamp_guild_tokens
from polar_sync.testing.store import RowKind

CUSTOMER_LISTS: Mapping[str, tuple[RowList, RowKind]] = {
    "subscriptions:list": (SUBSCRIPTIONS, "subscription"),
    "benefit-grants:list": (GRANTS, "grant"),
    "customer-meters:list": (CUSTOMER_METERS, "meter"),
}
CATALOGUE_LISTS: Mapping[str, tuple[RowList, str]] = {
    "products:list": (PRODUCTS, "products"),
    "benefits:list": (BENEFITS, "benefits"),
    "meters:list": (METERS, "meters"),
}
ROW_LISTS = (*CUSTOMER_LISTS, *CATALOGUE_LISTS)


class RowLists:
    """Builds pages from what the organization holds; called with its lock held."""

    def __init__(self, organization: FakeOrganization, *, ties: random.Random) -> None:
        self._organization = organization
        self._ties = ties
        self.index = RowIndex(organization)

    def build_page(self, operation: str, pairs: list[tuple[str, str]]) -> bytes:
        """The JSON of the page asked for; raises `RefusalError` where Polar refuses."""
        is_of_customers = operation in CUSTOMER_LISTS
        spec = CUSTOMER_LISTS[operation][0] if is_of_customers else CATALOGUE_LISTS[operation][0]
        asked = read_row_query(spec, pairs)
        if is_of_customers:
            rows = self.index.gather(CUSTOMER_LISTS[operation][1], asked.customer_ids)
            if "meter_id" not in asked.values:
                rows = [row for row in rows if not row.is_hidden]
        else:
            rows = self._build_rows(CATALOGUE_LISTS[operation][1], sorting=spec.sorting)
        rows = asked.select(rows, is_indexed=is_of_customers)
        ties = self._ties if self._organization.shuffle_ties else None
        page = asked.write(asked.sort(rows, ties=ties))
        return stamp_guild_tokens(page, now=self._organization.now())

    def _build_rows(self, name: str, *, sorting: str) -> list[Row]:
        shelf = self._organization.shelf
        objects: dict[str, dict[str, Any]] = getattr(shelf, name)
        field = sorting.removeprefix("-")
        return [Row(one, (shelf.prepare(one).body,), rank_field(one, field)) for one in objects.values()]
