"""Items of Polar's lists, made from what a state holds: its fields, and those that only a list has.

References: https://polar.sh/docs/api-reference/subscriptions/list, …/customer-meters/list; grants:
https://polar.sh/docs/api-reference/benefits/list-grants.
"""

from __future__ import annotations

from typing import Any

from polar_sync.testing.goods import derive_id
from polar_sync.testing.prepared import Prepared
from polar_sync.testing.shelf import Shelf
from polar_sync.testing.store import Record

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
    return lay_out({**SUBSCRIPTION_DEFAULTS, **own, **nested}, SUBSCRIPTION_FIELDS)


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
    return lay_out({**defaults, **source, **nested}, GRANT_FIELDS)


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
