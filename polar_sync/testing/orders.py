"""One-time purchases on the fake server: an order that is paid, and what it gives.

Reference: https://polar.sh/docs/api-reference/orders/get. Orders are told of by events only: nothing lists them.
"""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

from polar_sync.testing.changes import Object, get_id
from polar_sync.testing.customers import Record
from polar_sync.testing.grants import GrantOwner
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.rows import build_user

AMOUNTS = {
    "discount_amount": 0,
    "tax_amount": 0,
    "applied_balance_amount": 0,
    "refunded_amount": 0,
    "refunded_tax_amount": 0,
    "from_balance_amount": 0,
    "refundable_tax_amount": 0,
    "platform_fee_amount": 0,
}


class OrderOwner(GrantOwner):
    """The Python way to sell something once; it makes the events that Polar makes."""

    def purchase(self, customer_id: str | uuid.UUID, product: Object | None = None) -> dict[str, Any]:
        """Have a customer buy a product (the catalogue's first where none is named) and give the paid order back.

        The benefits of the product are granted for the order, without a subscription.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            chosen = self.get_product(product)
            order = build_order(record, chosen, order_id=self.make_id(), now=format_timestamp(self.now()))
            with self._changing(record):
                self.event_maker.tell_object("order.created", order)
                self.event_maker.tell_object("order.paid", order)
                scope = {"subscription_id": None, "order_id": order["id"]}
                for benefit in chosen["benefits"]:
                    self._grant(record, benefit["id"], scope=scope, fields={})
            return order

    def get_product(self, product: Object | None) -> dict[str, Any]:
        """A product of the catalogue as it is kept there, its first one for None; `KeyError` where there is none."""
        products = self.shelf.products
        key = next(iter(products)) if product is None else get_id(product)
        if key not in products:
            raise KeyError(f"there is no product {key}")
        return products[key]


def build_order(record: Record, product: dict[str, Any], *, order_id: str, now: str) -> dict[str, Any]:
    """A paid order of one product, without taxes or discounts."""
    price = copy.deepcopy(product["prices"][0])
    amount = price.get("price_amount", 0)
    customer = json.loads(record.customer_body)
    shown = {
        name: copy.deepcopy(value) for name, value in product.items() if name not in {"prices", "benefits", "medias"}
    }
    item = {
        "created_at": now,
        "modified_at": None,
        "id": order_id,
        "label": product["name"],
        "amount": amount,
        "tax_amount": 0,
        "proration": False,
        "product_price_id": price["id"],
    }
    return {
        "id": order_id,
        "created_at": now,
        "modified_at": None,
        "status": "paid",
        "paid": True,
        "subtotal_amount": amount,
        "net_amount": amount,
        "total_amount": amount,
        "due_amount": amount,
        "amount": amount,
        "refundable_amount": amount,
        **AMOUNTS,
        "currency": price["price_currency"],
        "billing_reason": "purchase",
        "billing_name": customer.get("billing_name"),
        "billing_address": customer.get("billing_address"),
        "invoice_number": f"FAKE-{order_id[:8].upper()}",
        "is_invoice_generated": False,
        "receipt_number": None,
        "seats": None,
        "units": None,
        "customer_id": record.key,
        "product_id": product["id"],
        "product_price_id": price["id"],
        "discount_id": None,
        "subscription_id": None,
        "checkout_id": None,
        "next_payment_attempt_at": None,
        "metadata": {},
        "custom_field_data": {},
        "platform_fee_currency": None,
        "customer": customer,
        "user_id": record.key,
        "user": build_user(record),
        "product": shown,
        "product_price": price,
        "discount": None,
        "subscription": None,
        "items": [item],
        "description": product["name"],
    }
