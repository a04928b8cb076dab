"""The six lists beside that of the customers: what each can be filtered and sorted by, and its pages.

References: https://polar.sh/docs/api-reference/subscriptions/list, …/customer-meters/list, …/products/list,
…/benefits/list, …/meters/list.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from polar_sync.testing.catalogue_store import stamp_guild_tokens
from polar_sync.testing.customers import RowKind
from polar_sync.testing.http import Detail, refuse_request
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.paging import (
    Filter,
    Values,
    check_choice,
    check_paging,
    filter_choices,
    filter_ids,
    filter_truth,
    filter_words,
    group_values,
    read_paging,
    write_page,
)
from polar_sync.testing.rows import Row, RowIndex, SortKey, rank, rank_field
from polar_sync.testing.validation import check_uuids, read_uuid

get_default_key: Callable[[Row], SortKey] = attrgetter("key")
STATUSES = ("incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused")
PRESENT = frozenset({"trialing", "active"})
BENEFIT_TYPES = (
    *("custom", "discord", "github_repository", "downloadables", "license_keys", "meter_credit", "feature_flag"),
    "slack_shared_channel",
)
VISIBILITIES = ("draft", "private", "public")
Key = Callable[[Row], SortKey]


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


def sort_by(*names: str) -> dict[str, Key]:
    """Keys for criteria that carry the names of fields."""
    return {name: partial(_rank_source, name=name) for name in names}


def _rank_source(row: Row, *, name: str) -> SortKey:
    return rank_field(row.source, name)


def _rank_customer(row: Row, *, name: str) -> SortKey:
    return rank(row.record.get_text(name) if row.record else None)


def _rank_label(row: Row) -> SortKey:
    return rank(row.label)


def _rank_status(row: Row) -> SortKey:
    """The order of a subscription's life; one that is about to end comes after its like."""
    status = row.get_text("status")
    is_ending = status == "active" and row.source.get("cancel_at_period_end") is True
    return rank(STATUSES.index(status) + is_ending / 2 if status in STATUSES else None)


def _rank_discount(row: Row) -> SortKey:
    return rank(row.get_text("discount_id"))


def _get_customer_id(row: Row) -> str | None:
    return row.record.key if row.record else None


def _get_external_id(row: Row) -> str | None:
    return row.record.get_text("external_id") if row.record else None


def _get_organization_id(row: Row) -> str | None:
    return row.record.get_text("organization_id") if row.record else row.get_text("organization_id")


def _is_active(row: Row) -> bool:
    """Polar's rule for what is in a state, which may take in a status that nobody knows yet."""
    return row.is_present or row.get_text("status") in PRESENT


def _is_ending(row: Row) -> bool:
    return row.get_field("cancel_at_period_end", None) is True


def _is_granted(row: Row) -> bool:
    return row.get_field("is_granted", True) is True


def _filter_uuids(get: Callable[[Row], Any]) -> Filter:
    return Filter(get=get, check_all=check_uuids, read=lambda text: read_uuid(text) or text)


OF_ORGANIZATION = {"organization_id": _filter_uuids(_get_organization_id)}
OF_CUSTOMER = {
    **OF_ORGANIZATION,
    "customer_id": _filter_uuids(_get_customer_id),
    "external_customer_id": Filter(get=_get_external_id),
}

SUBSCRIPTIONS = RowList(
    sorting="-started_at",
    sort_keys={
        "customer": partial(_rank_customer, name="email"),
        "status": _rank_status,
        **sort_by("started_at", "current_period_end", "ended_at", "ends_at", "amount"),
        "product": _rank_label,
        "discount": _rank_discount,
    },
    filters={
        **OF_CUSTOMER,
        "product_id": filter_ids("product_id"),
        "discount_id": filter_ids("discount_id"),
        "active": filter_truth(_is_active),
        "status": filter_choices("status", STATUSES),
        "cancel_at_period_end": filter_truth(_is_ending),
    },
    not_served=frozenset(
        {
            *("customer_cancellation_reason", "canceled_at_after", "canceled_at_before", "started_after"),
            *("started_before", "metadata"),
        }
    ),
)
GRANTS = RowList(
    sorting="-created_at",
    sort_keys=sort_by("created_at", "granted_at", "revoked_at"),
    filters={**OF_CUSTOMER, "is_granted": filter_truth(_is_granted)},
)
CUSTOMER_METERS = RowList(
    sorting="-modified_at",
    sort_keys={
        **sort_by("created_at", "modified_at"),
        "customer_id": lambda row: rank(_get_customer_id(row)),
        "customer_name": partial(_rank_customer, name="name"),
        **sort_by("meter_id"),
        "meter_name": _rank_label,
        **sort_by("consumed_units", "credited_units", "balance"),
    },
    filters={**OF_CUSTOMER, "meter_id": filter_ids("meter_id")},
)
PRODUCTS = RowList(
    sorting="-created_at",
    sort_keys={
        **sort_by("created_at", "name"),
        "price_amount_type": lambda row: rank(row.source["prices"][0]["amount_type"]),
        "price_amount": lambda row: rank(row.source["prices"][0].get("price_amount")),
    },
    filters={
        "id": filter_ids("id"),
        **OF_ORGANIZATION,
        "query": filter_words("name"),
        "is_archived": filter_truth(lambda row: row.source["is_archived"]),
        "is_recurring": filter_truth(lambda row: row.source["is_recurring"]),
        "visibility": filter_choices("visibility", VISIBILITIES),
    },
    not_served=frozenset({"benefit_id", "metadata"}),
)
BENEFITS = RowList(
    sorting="-created_at",
    sort_keys=sort_by("created_at", "description", "type", "user_order"),
    filters={
        **OF_ORGANIZATION,
        "type": filter_choices("type", BENEFIT_TYPES),
        "id": filter_ids("id"),
        "query": filter_words("description"),
    },
    not_served=frozenset({"exclude_id", "metadata"}),
)
METERS = RowList(
    sorting="name",
    sort_keys=sort_by("created_at", "name"),
    filters={
        **OF_ORGANIZATION,
        "query": filter_words("name"),
        "is_archived": filter_truth(lambda row: row.source["archived_at"] is not None),
    },
    not_served=frozenset({"metadata"}),
)


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
