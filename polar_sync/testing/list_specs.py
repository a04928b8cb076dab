"""What each of Polar's lists can be filtered and sorted by.

References: https://polar.sh/docs/api-reference/subscriptions/list, …/customer-meters/list, …/products/list,
…/benefits/list, …/meters/list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from polar_sync.testing.filters import Filter, filter_choices, filter_ids, filter_truth, filter_words
from polar_sync.testing.row_lists import RowList
from polar_sync.testing.rows import Row, SortKey, rank, rank_field
from polar_sync.testing.validation import check_uuids, read_uuid

STATUSES = ("incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused")
PRESENT = frozenset({"trialing", "active"})
BENEFIT_TYPES = (
    *("custom", "discord", "github_repository", "downloadables", "license_keys", "meter_credit", "feature_flag"),
    "slack_shared_channel",
)
VISIBILITIES = ("draft", "private", "public")
Key = Callable[[Row], SortKey]


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
    return row.source.get("cancel_at_period_end") is True


def _is_granted(row: Row) -> bool:
    return row.source.get("is_granted", True) is True


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
