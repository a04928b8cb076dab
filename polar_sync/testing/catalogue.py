"""The products, benefits and meters of a fake organization, in Polar's shapes and order of fields.

References: https://polar.sh/docs/api-reference/products/list, …/benefits/list, …/meters/list.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from polar_sync.testing.http import format_timestamp

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
CREATED = datetime(2025, 1, 6, 9, 0, 0, 497344, tzinfo=UTC)
# Replaced in every answer: Polar signs a new token, valid for a while, whenever it shows a Discord benefit.
GUILD_TOKEN = "fake-guild-token-0000000000"  # noqa: S105  a placeholder
# Customers may be told about these types or not, as the organization likes; about the others always.
CONFIGURABLE = frozenset({"custom", "feature_flag", "license_keys", "meter_credit"})
METER_SUMMARY = ("id", "name", "unit", "custom_label", "custom_multiplier")


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


def derive_id(*parts: str) -> str:
    """A UUID that depends on these texts only."""
    digest = hashlib.blake2b("/".join(parts).encode("utf-8", "replace"), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def build_meters(catalogue: Catalogue, *, organization_id: str) -> list[dict[str, Any]]:
    """The catalogue's meters, the first summing up a property, the others counting events."""
    return [
        build_meter(one, created=_step(index), organization_id=organization_id, property_name=used)
        for index, (one, used) in enumerate(zip(catalogue.meters, ("tokens", None, "gigabytes"), strict=True))
    ]


def build_meter(
    meter: Meter, *, created: datetime, organization_id: str, property_name: str | None = None
) -> dict[str, Any]:
    """One meter; with the name of a property it is the sum of that, else the number of events."""
    clause = {"property": "name", "operator": "eq", "value": meter.name}
    return {
        "metadata": {},
        "created_at": format_timestamp(created),
        "modified_at": None,
        "id": meter.id,
        "name": meter.name,
        "unit": "scalar",
        "custom_label": None,
        "custom_multiplier": None,
        "filter": {"conjunction": "and", "clauses": [clause]},
        "aggregation": {"func": "sum", "property": property_name} if property_name else {"func": "count"},
        "organization_id": organization_id,
        "archived_at": None,
    }


def build_benefits(catalogue: Catalogue, *, organization_id: str) -> list[dict[str, Any]]:
    """The catalogue's benefits."""
    meter_id = catalogue.meters[0].id
    return [
        build_benefit(one, created=_step(10 + index), organization_id=organization_id, meter_id=meter_id)
        for index, one in enumerate(catalogue.benefits)
    ]


def build_benefit(benefit: Benefit, *, created: datetime, organization_id: str, meter_id: str) -> dict[str, Any]:
    """One benefit; `meter_id` is what a meter credit credits. A type that is not known has no properties."""
    whole = {
        "id": benefit.id,
        "created_at": format_timestamp(created),
        "modified_at": format_timestamp(created + timedelta(seconds=1)) if benefit.metadata else None,
        "type": benefit.type,
        "description": benefit.description,
        "selectable": benefit.type not in {"discord", "github_repository"},
        "deletable": True,
        "is_deleted": False,
        "organization_id": organization_id,
        "metadata": dict(benefit.metadata),
        "visibility": "public",
        "properties": build_benefit_properties(benefit, meter_id=meter_id),
    }
    if benefit.type == "custom":
        whole["is_tax_applicable"] = True
    whole["visibility_configurable"] = benefit.type in CONFIGURABLE
    return whole


def build_benefit_properties(benefit: Benefit, *, meter_id: str) -> dict[str, Any]:
    """How a benefit is set up, by its type; not what a grant carries."""
    every: dict[str, dict[str, Any]] = {
        "custom": {"note": "Write to **us**"},
        "discord": {"guild_id": "123", "role_id": "456", "kick_member": False, "guild_token": GUILD_TOKEN},
        "github_repository": {
            "repository_owner": "acme",
            "repository_name": "private",
            "permission": "pull",
            "repository_id": None,
        },
        "downloadables": {"archived": {}, "files": [derive_id(benefit.id, "file")]},
        "license_keys": {
            "prefix": "FAKE",
            "expires": None,
            "activations": {"limit": 5, "enable_customer_admin": True},
            "limit_usage": None,
        },
        "meter_credit": {"units": 1_000, "rollover": False, "meter_id": meter_id},
        "slack_shared_channel": {
            "slack_integration_id": derive_id(benefit.id, "integration"),
            "channel_name_template": "shared-{customer}",
            "private": True,
            "welcome_message": None,
            "archive_on_revoke": True,
            "team_invitees": [],
        },
    }
    return every.get(benefit.type, {})


def build_products(
    catalogue: Catalogue, *, organization_id: str, benefits: Sequence[dict[str, Any]], meters: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The catalogue's products, with the benefits that they grant."""
    built = []
    for index, product in enumerate(catalogue.products):
        granted = [one for one in benefits if one["type"] in product.benefit_types]
        created = _step(30 + 2 * index)
        built.append(
            build_product(product, created=created, organization_id=organization_id, benefits=granted, meters=meters)
        )
    return built


def build_product(
    product: Product,
    *,
    created: datetime,
    organization_id: str,
    benefits: Iterable[dict[str, Any]] = (),
    meters: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One product with a fixed price, and a metered one for each of `meters` that it names."""
    charged = [one for one in meters if one["id"] in product.meter_ids]
    metered = [_build_metered_price(product, one, created=created) for one in charged]
    return {
        "id": product.id,
        "created_at": format_timestamp(created),
        "modified_at": None,
        "trial_interval": None,
        "trial_interval_count": None,
        "name": product.name,
        "description": f"What {product.name} gives",
        "visibility": "public",
        "recurring_interval": product.recurring_interval,
        "recurring_interval_count": 1,
        "meter_interval": None,
        "meter_interval_count": None,
        "is_recurring": True,
        "is_archived": False,
        "organization_id": organization_id,
        "metadata": {},
        "prices": [_build_fixed_price(product, created=created), *metered],
        "benefits": list(benefits),
        "medias": [],
        "attached_custom_fields": [],
    }


def _build_fixed_price(product: Product, *, created: datetime) -> dict[str, Any]:
    head = _build_price(product, price_id=product.price_id, amount_type="fixed", created=created)
    return {**head, "price_amount": product.amount}


def _build_metered_price(product: Product, meter: dict[str, Any], *, created: datetime) -> dict[str, Any]:
    price_id = derive_id(product.id, meter["id"])
    return {
        **_build_price(product, price_id=price_id, amount_type="metered_unit", created=created),
        "unit_amount": "2.000000000000",
        "cap_amount": None,
        "meter_id": meter["id"],
        "meter": {name: meter[name] for name in METER_SUMMARY},
    }


def _build_price(product: Product, *, price_id: str, amount_type: str, created: datetime) -> dict[str, Any]:
    return {
        "created_at": format_timestamp(created + timedelta(milliseconds=1)),
        "modified_at": None,
        "id": price_id,
        "source": "catalog",
        "amount_type": amount_type,
        "price_currency": product.currency,
        "tax_behavior": None,
        "is_archived": False,
        "product_id": product.id,
        "type": "recurring",
        "recurring_interval": product.recurring_interval,
    }


def _step(number: int) -> datetime:
    return CREATED + timedelta(seconds=number)
