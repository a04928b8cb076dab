"""The products, benefits and meters of a fake organization as Polar answers them, with ready bytes."""

from __future__ import annotations

import copy
import json
import uuid
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from polar_sync.testing.catalogue import (
    CREATED,
    GUILD_TOKEN,
    Benefit,
    Catalogue,
    Meter,
    Product,
    build_benefit,
    build_benefits,
    build_meter,
    build_meters,
    build_product,
    build_products,
)
from polar_sync.testing.http import dump_json

# Stands in the text for a part that is ready; random, so that no value can be taken for it.
_MARK = f"prepared {uuid.uuid4().hex}"
_QUOTED_MARK = f'"{_MARK}"'
TOKEN_LIFETIME = timedelta(hours=1)
NO_ID = "00000000-0000-4000-8000-000000000000"
Objects = dict[str, dict[str, Any]]


class Prepared:
    """A JSON value that is written already; it may stand anywhere in a value for `split_json`."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


def split_json(value: Any) -> tuple[bytes, ...]:
    """The pieces whose concatenation is `value` as JSON in ASCII; the `Prepared` parts are not copied."""
    ready: list[bytes] = []

    def take(part: Any) -> str:
        if not isinstance(part, Prepared):
            raise TypeError(f"{type(part).__name__} is no JSON")
        ready.append(part.body)
        return _MARK

    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=take)
    between = [piece.encode("ascii") for piece in text.split(_QUOTED_MARK)]
    return (between[0], *chain.from_iterable(zip(ready, between[1:], strict=True)))


class Shelf:
    """Whole objects by id; not locked by itself.

    A state may name a product, benefit or meter that is not here: lists then nest one that is made up from what the
    state says, and the catalogues do not have it.
    """

    def __init__(self, catalogue: Catalogue, *, organization_id: str) -> None:
        self._organization_id = organization_id
        meters = build_meters(catalogue, organization_id=organization_id)
        benefits = build_benefits(catalogue, organization_id=organization_id)
        products = build_products(catalogue, organization_id=organization_id, benefits=benefits, meters=meters)
        self.replace(products=products, benefits=benefits, meters=meters)

    def replace(
        self, *, products: list[dict[str, Any]], benefits: list[dict[str, Any]], meters: list[dict[str, Any]]
    ) -> None:
        """Have these objects and no others."""
        self.products: Objects = {one["id"]: one for one in products}
        self.benefits: Objects = {one["id"]: one for one in benefits}
        self.meters: Objects = {one["id"]: one for one in meters}
        self.is_changed = False
        self._bodies: dict[str, Prepared] = {}

    def update(self, objects: Objects, object_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Change fields of an object; raises `KeyError` where there is none with this id."""
        if object_id not in objects:
            raise KeyError(f"there is no product, benefit or meter {object_id}")
        objects[object_id] = {**objects[object_id], **copy.deepcopy(fields)}
        # Products show benefits and the names of meters, so that a change reaches further than its own object.
        self._bodies.clear()
        self.is_changed = True
        self._refresh_products()
        return copy.deepcopy(objects[object_id])

    def _refresh_products(self) -> None:
        for product in self.products.values():
            product["benefits"] = [self.benefits.get(one["id"], one) for one in product["benefits"]]
            for price in product["prices"]:
                meter = self.meters.get(price.get("meter_id", ""))
                if meter is not None:
                    price["meter"] = {name: meter[name] for name in price["meter"]}

    def is_archived(self, meter_id: Any) -> bool:
        """The meter is known and archived."""
        meter = self.meters.get(meter_id) if isinstance(meter_id, str) else None
        return meter is not None and meter["archived_at"] is not None

    def get_product(self, subscription: dict[str, Any]) -> dict[str, Any]:
        """The product of a subscription."""
        product_id = _get_id(subscription, "product_id")
        if product_id in self.products:
            return self.products[product_id]
        amount, currency = subscription.get("amount"), subscription.get("currency")
        interval, price_id = subscription.get("recurring_interval"), subscription.get("price_id")
        made_up = Product(
            product_id,
            f"Product {product_id[:8]}",
            price_id if isinstance(price_id, str) else NO_ID,
            amount if isinstance(amount, int) else 0,
            currency if isinstance(currency, str) else "usd",
            interval if isinstance(interval, str) else "month",
        )
        return build_product(made_up, created=CREATED, organization_id=self._organization_id)

    def get_benefit(self, grant: dict[str, Any]) -> dict[str, Any]:
        """The benefit of a grant, with the type and the metadata that the grant says it has."""
        benefit_id = _get_id(grant, "benefit_id")
        known = self.benefits.get(benefit_id)
        if known is None:
            benefit = Benefit(benefit_id, str(grant.get("benefit_type")), f"Benefit {benefit_id[:8]}", {})
            meter_id = next(iter(self.meters), NO_ID)
            known = build_benefit(benefit, created=CREATED, organization_id=self._organization_id, meter_id=meter_id)
        said = {"type": grant.get("benefit_type", known["type"])}
        said["metadata"] = grant.get("benefit_metadata", known["metadata"])
        present = {name: known[name] for name in said}
        # Python takes 1, 1.0 and True for the same; their JSON differs, and so does their representation.
        return known if said == present and repr(said) == repr(present) else {**known, **said}

    def get_meter(self, owner: dict[str, Any]) -> dict[str, Any]:
        """The meter of a customer's or a subscription's meter."""
        meter_id = _get_id(owner, "meter_id")
        if meter_id in self.meters:
            return self.meters[meter_id]
        made_up = Meter(meter_id, f"Meter {meter_id[:8]}", 0)
        return build_meter(made_up, created=CREATED, organization_id=self._organization_id)

    def prepare(self, value: dict[str, Any]) -> Prepared:
        """The bytes of an object of the shelf, written once; those of another object, written now."""
        object_id = value["id"]
        if not any(objects.get(object_id) is value for objects in (self.products, self.benefits, self.meters)):
            return Prepared(dump_json(value))
        if object_id not in self._bodies:
            self._bodies[object_id] = Prepared(dump_json(value))
        return self._bodies[object_id]

    def prepare_prices(self, product: dict[str, Any]) -> Prepared:
        """The bytes of a product's prices, written once for a product of the shelf."""
        key = f"prices of {product['id']}"
        if self.products.get(product["id"]) is not product:
            return Prepared(dump_json(product["prices"]))
        if key not in self._bodies:
            self._bodies[key] = Prepared(dump_json(product["prices"]))
        return self._bodies[key]


def stamp_guild_tokens(body: bytes, *, now: datetime) -> bytes:
    """The body with the Discord tokens of this second, valid for an hour."""
    token = f"{GUILD_TOKEN[:-10]}{int((now + TOKEN_LIFETIME).timestamp()):010d}"
    return body.replace(GUILD_TOKEN.encode("ascii"), token.encode("ascii"))


def _get_id(value: dict[str, Any], name: str) -> str:
    """The id under `name`; some other text where there is no such text."""
    found = value.get(name)
    return found if isinstance(found, str) else NO_ID
