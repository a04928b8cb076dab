"""The products, benefits and meters of a fake organization: what subscriptions, grants and meters point to."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Product:
    """A recurring product with a fixed price, and one a meter; `amount` in the currency's smallest unit."""

    id: str
    name: str
    price_id: str
    amount: int
    currency: str
    recurring_interval: str
    meter_ids: tuple[str, ...] = ()
    benefit_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Benefit:
    """Something a product grants; `type` decides the shape of a grant's `properties`."""

    id: str
    type: str
    description: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Meter:
    """Something that is counted; `cents_per_unit` is what subscriptions charge for it."""

    id: str
    name: str
    cents_per_unit: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All of an organization's products, benefits and meters."""

    products: tuple[Product, ...]
    benefits: tuple[Benefit, ...]
    meters: tuple[Meter, ...]

    @classmethod
    def generate(cls, rng: random.Random) -> Catalogue:
        """The same names for every organization, with ids from `rng`."""

        def make_id() -> str:
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))

        meters = tuple(Meter(make_id(), name, cents) for name, cents in METERS)
        products = tuple(
            Product(
                make_id(),
                name,
                make_id(),
                amount,
                currency,
                interval,
                tuple(meters[index].id for index in used),
                GRANTED.get(name, ()),
            )
            for name, amount, currency, interval, used in PRODUCTS
        )
        benefits = tuple(Benefit(make_id(), *rest) for rest in BENEFITS)
        return cls(products, benefits, meters)


METERS = (("Tokens", 25), ("API calls", 10), ("Stored gigabytes", 2))
PRODUCTS: tuple[tuple[str, int, str, str, tuple[int, ...]], ...] = (
    ("Free", 0, "usd", "month", ()),
    ("Starter", 1_000, "usd", "month", ()),
    ("Pro", 19_900, "usd", "year", ()),
    ("Metered", 500, "eur", "month", (0, 1)),
    ("Day pass", 150, "gbp", "day", (2,)),
    ("日本プラン", 1_200, "jpy", "month", ()),
)
# The types of the benefits that a product grants, by its name.
GRANTED: dict[str, tuple[str, ...]] = {
    "Free": ("custom", "license_keys", "feature_flag"),
    "Pro": ("discord", "github_repository"),
}
BENEFITS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("custom", "Priority support", {"tier": "gold"}),
    ("discord", "Private channel", {}),
    ("github_repository", "Private repository", {}),
    ("downloadables", "Source archive", {}),
    ("license_keys", "License key", {"seats": 5}),
    ("meter_credit", "1000 tokens", {}),
    ("feature_flag", "Beta flag", {"flag": "beta", "on": True, "pct": 0.25}),
    ("slack_shared_channel", "Shared channel", {}),
)
