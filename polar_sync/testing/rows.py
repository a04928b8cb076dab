"""The rows and items of Polar's subscription, grant and meter lists, found by customer, with ready bytes.

References: https://polar.sh/docs/api-reference/subscriptions/list, …/customer-meters/list; grants:
https://polar.sh/docs/api-reference/benefits/list-grants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from polar_sync.testing.catalogue import derive_id
from polar_sync.testing.catalogue_store import Prepared, Shelf, split_json
from polar_sync.testing.customers import Record, RowKind

if TYPE_CHECKING:
    from polar_sync.testing.organization import FakeOrganization

SUBSCRIPTION_FIELDS = (
    *("created_at", "modified_at", "id", "amount", "currency", "recurring_interval", "recurring_interval_count"),
    *("status", "current_period_start", "current_period_end", "current_meter_period_start"),
    *("current_meter_period_end", "trial_start", "trial_end", "cancel_at_period_end", "canceled_at", "started_at"),
    *("ends_at", "ended_at", "past_due_at", "pause_at_period_end", "paused_at", "resumes_at", "customer_id"),
    *("product_id", "discount_id", "checkout_id", "seats", "units", "customer_cancellation_reason"),
    *("customer_cancellation_comment", "price_id", "metadata", "custom_field_data", "customer", "user_id", "user"),
    *("product", "discount", "price", "prices", "meters", "pending_update"),
)
SUBSCRIPTION_DEFAULTS: dict[str, Any] = {
    "recurring_interval_count": 1,
    "current_meter_period_start": None,
    "current_meter_period_end": None,
    "ended_at": None,
    "past_due_at": None,
    "pause_at_period_end": False,
    "paused_at": None,
    "resumes_at": None,
    "checkout_id": None,
    "seats": None,
    "units": None,
    "customer_cancellation_reason": None,
    "customer_cancellation_comment": None,
    "pending_update": None,
}
GRANT_FIELDS = (
    *("created_at", "modified_at", "id", "granted_at", "is_granted", "revoked_at", "is_revoked", "subscription_id"),
    *("order_id", "customer_id", "member_id", "benefit_id", "error", "customer", "member", "benefit", "properties"),
    "user_id",
)
GRANT_DEFAULTS: dict[str, Any] = {
    "is_granted": True,
    "revoked_at": None,
    "is_revoked": False,
    "member_id": None,
    "error": None,
    "member": None,
}
METER_FIELDS = (
    *("id", "created_at", "modified_at", "customer_id", "meter_id", "consumed_units", "credited_units", "balance"),
    *("customer", "meter"),
)
ROW_KINDS: tuple[RowKind, ...] = ("subscription", "grant", "meter")
# What each list sorts by unless asked otherwise; newest first.
DEFAULT_SORTINGS = {"subscription": "started_at", "grant": "created_at", "meter": "modified_at"}
SortKey = tuple[int, Any]
_get_sequence = attrgetter("sequence")


def build_subscription_item(
    own: dict[str, Any], *, record: Record, shelf: Shelf, lists_other_price: bool
) -> dict[str, Any]:
    """A subscription as the list has it. `lists_other_price` takes another one of several prices for `price_id`."""
    product = shelf.get_product(own)
    prices = product["prices"]
    price = next((one for one in prices if one["id"] == own.get("price_id")), prices[0])
    meters = own.get("meters")
    nested: dict[str, Any] = {
        "customer_id": record.key,
        "customer": Prepared(record.customer_body),
        "user_id": record.key,
        "user": build_user(record),
        "product": shelf.prepare(product),
        "discount": build_discount(own, organization_id=product["organization_id"]),
        "price": price,
        "prices": shelf.prepare_prices(product),
    }
    if isinstance(meters, list):
        nested["meters"] = [
            {**one, "meter": shelf.prepare(shelf.get_meter(one))} if isinstance(one, dict) else one for one in meters
        ]
    if lists_other_price and len(prices) > 1:
        nested["price"] = next(one for one in reversed(prices) if one is not price)
        nested["price_id"] = nested["price"]["id"]
    listed = record.get_list_fields(own)
    return lay_out({**SUBSCRIPTION_DEFAULTS, **own, **listed, **nested}, SUBSCRIPTION_FIELDS)


def build_grant_item(own: dict[str, Any], *, record: Record, shelf: Shelf) -> dict[str, Any]:
    """A benefit grant as the list has it: the benefit's type and metadata are in the nested benefit."""
    source = {name: value for name, value in own.items() if name not in {"benefit_type", "benefit_metadata"}}
    subscriptions = record.get_children("active_subscriptions")
    first = next((one.get("id") for one in subscriptions if isinstance(one, dict)), None)
    defaults = {
        **GRANT_DEFAULTS,
        "subscription_id": first,
        "order_id": derive_id(str(own.get("id")), "order") if first is None else None,
    }
    nested = {
        "customer_id": record.key,
        "customer": Prepared(record.customer_body),
        "benefit": shelf.prepare(shelf.get_benefit(own)),
        "user_id": record.key,
    }
    return lay_out({**defaults, **source, **record.get_list_fields(own), **nested}, GRANT_FIELDS)


def build_meter_item(own: dict[str, Any], *, record: Record, shelf: Shelf) -> dict[str, Any]:
    """A customer's meter as the list has it."""
    nested = {
        "customer_id": record.key,
        "customer": Prepared(record.customer_body),
        "meter": shelf.prepare(shelf.get_meter(own)),
    }
    return lay_out({**own, **nested}, METER_FIELDS)


def refresh_item(item: dict[str, Any], *, record: Record, shelf: Shelf) -> dict[str, Any]:
    """A recorded item with the customer as it is now, and the rest too once the shelf has changed."""
    refreshed = {**item, "customer": Prepared(record.customer_body)}
    if "user" in item:
        refreshed["user"] = build_user(record)
    if not shelf.is_changed:
        return refreshed
    if "product" in item:
        refreshed["product"] = shelf.prepare(shelf.get_product(item))
    if "benefit" in item:
        refreshed["benefit"] = shelf.prepare(shelf.get_benefit(item))
    if "meter" in item:
        refreshed["meter"] = shelf.prepare(shelf.get_meter(item))
    return refreshed


def build_user(record: Record) -> dict[str, Any]:
    """What the lists still call the user: the customer's face to the public."""
    email = record.get_text("email")
    return {
        "id": record.key,
        "email": email,
        "public_name": (record.get_text("name") or email or "?")[:1],
        "avatar_url": record.get_text("avatar_url"),
        "github_username": None,
    }


def build_discount(own: dict[str, Any], *, organization_id: str) -> dict[str, Any] | None:
    """The discount that a subscription names."""
    discount_id = own.get("discount_id")
    if not isinstance(discount_id, str):
        return None
    return {
        "duration": "forever",
        "type": "percentage",
        "basis_points": 1_000,
        "created_at": own.get("created_at"),
        "modified_at": None,
        "id": discount_id,
        "metadata": {},
        "name": f"Discount {discount_id[:8]}",
        "code": None,
        "starts_at": None,
        "ends_at": None,
        "max_redemptions": None,
        "max_redemptions_per_customer": None,
        "redemptions_count": 1,
        "organization_id": organization_id,
    }


def lay_out(known: dict[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    """The fields in Polar's order, those that it does not know behind them."""
    return {name: known[name] for name in order if name in known} | known


@dataclass(slots=True, eq=False)
class Row:
    """One item of a list: the object it was made from, whose it is, its JSON in pieces.

    `label` is the name of its product or meter. `sequence` is its place in a recording, 0 where it has none. `key` is
    its key in the list's default sorting. `is_present` says of a subscription that the customer's state holds it,
    whatever its status; `is_hidden` of a customer's meter that it is shown only where `meter_id` names it.
    """

    source: dict[str, Any]
    parts: tuple[bytes, ...]
    key: SortKey
    record: Record | None = None
    label: str | None = None
    sequence: int = 0
    is_present: bool = False
    is_hidden: bool = False

    def get_field(self, name: str, default: Any) -> Any:
        """A field as the list shows it, also one that only the list has."""
        own = self.record.get_list_fields(self.source) if self.record is not None else {}
        return own.get(name, self.source.get(name, default))

    def get_text(self, name: str) -> str | None:
        """A field where it is text."""
        value = self.source.get(name)
        return value if isinstance(value, str) else None


class RowIndex:
    """The rows of an organization, by the customer they belong to; called with the organization's lock held."""

    def __init__(self, organization: FakeOrganization) -> None:
        self._organization = organization
        self._whole: dict[RowKind, tuple[Any, list[Row]]] = {}

    def gather(self, kind: RowKind, customer_ids: Iterable[str] | None) -> list[Row]:
        """The rows of these customers, or of all, in no order that means anything; the list is the caller's."""
        if customer_ids is None:
            return list(self._list_all(kind))
        found: list[Row] = []
        for record in self._find_records(kind, customer_ids):
            found += self._get_rows(record, kind)
        found.sort(key=_get_sequence)
        return found

    def prepare(self) -> None:
        """Write all bodies now, so that no answer waits for it."""
        for record in self._organization.store:
            _ = record.customer_body, record.state_body
        for kind in ROW_KINDS:
            self._list_all(kind)

    def _list_all(self, kind: RowKind) -> list[Row]:
        organization = self._organization
        stamp = (organization.store.version, organization.shows_deleted, organization.lists_other_price)
        known = self._whole.get(kind)
        if known is None or known[0] != stamp:
            records = self._find_records(kind, None)
            rows = sorted(chain.from_iterable(self._get_rows(one, kind) for one in records), key=_get_sequence)
            known = self._whole[kind] = (stamp, rows)
        return known[1]

    def _find_records(self, kind: RowKind, customer_ids: Iterable[str] | None) -> Iterator[Record]:
        store = self._organization.store
        # Deleting a customer ends its subscriptions; grants and meters may stay where they are.
        buried = store.deleted if self._organization.shows_deleted and kind != "subscription" else {}
        if customer_ids is None:
            yield from store
            yield from buried.values()
            return
        for customer_id in dict.fromkeys(customer_ids):
            record = store.find(customer_id) or buried.get(customer_id)
            if record is not None:
                yield record

    def _get_rows(self, record: Record, kind: RowKind) -> list[Row]:
        cached = (kind, self._organization.lists_other_price)
        if cached not in record.rows:
            record.rows[cached] = list(self._build_rows(record, kind))
        return record.rows[cached]

    def _build_rows(self, record: Record, kind: RowKind) -> Iterator[Row]:
        shelf = self._organization.shelf
        recorded = record.listed.get(kind)
        present = _get_ids(record.get_children("active_subscriptions")) if kind == "subscription" else frozenset()
        for sequence, own in enumerate_sources(record, kind) if recorded is None else recorded:
            if not isinstance(own, dict):
                yield Row({}, split_json(own), rank(None), record)
                continue
            row = self._build_row(record, kind, own, sequence=sequence)
            row.is_present = row.get_text("id") in present
            row.is_hidden = kind == "meter" and shelf.is_archived(own.get("meter_id"))
            yield row

    def _build_row(self, record: Record, kind: RowKind, own: dict[str, Any], *, sequence: int) -> Row:
        shelf = self._organization.shelf
        label: Any = None
        if sequence:
            item = refresh_item(own, record=record, shelf=shelf)
        elif kind == "subscription":
            other = self._organization.lists_other_price
            item = build_subscription_item(own, record=record, shelf=shelf, lists_other_price=other)
            label = shelf.get_product(own)["name"]
        elif kind == "grant":
            item = build_grant_item(own, record=record, shelf=shelf)
        else:
            item = build_meter_item(own, record=record, shelf=shelf)
            label = shelf.get_meter(own)["name"]
        additions = self._organization.store.additions
        if kind == "subscription":
            item = additions.extend_subscription("lists", item)
        else:
            item = additions.extend(kind, "lists", item)
        key = rank_field(own, DEFAULT_SORTINGS[kind])
        further = record.get_list_fields(own)
        return Row({**own, **further} if further else own, split_json(item), key, record, label, sequence)


def enumerate_sources(record: Record, kind: RowKind) -> Iterator[tuple[int, Any]]:
    """What rows are made from where no list was recorded: the state's objects, and those that no state has."""
    if kind == "subscription":
        sources = [*record.get_children("active_subscriptions"), *record.other_subscriptions]
    elif kind == "grant":
        sources = [*record.get_children("granted_benefits"), *record.other_grants]
    else:
        sources = record.get_children("active_meters")
    return ((0, source) for source in sources)


def _get_ids(objects: Iterable[Any]) -> frozenset[str]:
    ids = (one.get("id") for one in objects if isinstance(one, dict))
    return frozenset(each for each in ids if isinstance(each, str))


def rank_field(source: dict[str, Any], name: str) -> SortKey:
    """The sort key of a field: instants by time, whatever their spelling."""
    value = source.get(name)
    if isinstance(value, str) and name.endswith(("_at", "_start", "_end")):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return rank(value)
        return (2, moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return rank(value)


def rank(value: Any) -> SortKey:
    """A key that can be compared with any other; null is the greatest, as in PostgreSQL."""
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (9, 0) if value is None else (8, 0)
