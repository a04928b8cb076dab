"""Customers made up from a seed: the same seed and numbers give the same organization in every run."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from polar_sync.testing import samples
from polar_sync.testing.catalogue import Product
from polar_sync.testing.customers import Record, build_avatar_url
from polar_sync.testing.grants import build_grant_properties
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.organization import FakeOrganization

FIRST_CREATED = datetime(2025, 3, 1, 8, 0, 0, 269477, tzinfo=UTC)
ADDRESS_FIELDS = ("line1", "line2", "postal_code", "city", "state", "country")
PERIODS = {"day": timedelta(days=1), "month": timedelta(days=30), "year": timedelta(days=365)}
# How many further customers get the `created_at` of one, as after an import.
BURSTS = (0, 0, 0, 0, 1, 3, 12)
DELETED_SHARE = 0.03
REVOKED_SHARE = 0.05


def generate_customers(organization: FakeOrganization, *, customers: int, seed: int | str = 0) -> None:
    """Add this many living customers, and some deleted ones between them, with `created_at` growing and tied.

    They were there before: no event tells of them.
    """
    generator = Generator(organization, seed=seed)
    with organization.webhooks.silence():
        for _ in range(customers):
            generator.add_customer()
            if generator.rng.random() < DELETED_SHARE:
                organization.delete_customer(generator.add_customer().key)


class Generator:
    """Adds customers to an organization, one after the other."""

    def __init__(self, organization: FakeOrganization, *, seed: int | str) -> None:
        self.rng = random.Random(f"customers {seed}")  # noqa: S311  repeatable, not secret
        self._organization = organization
        self._store = organization.store
        self._burst = 0
        self._moment = FIRST_CREATED
        newest = max((record.created for record in self._store), default=None)
        if newest is not None:
            self._moment = newest + timedelta(seconds=1)

    def add_customer(self) -> Record:
        """One more customer, with subscriptions, grants and meters."""
        organization = self._organization
        with organization.shared.lock:
            created = self._step()
            number = len(self._store) + len(self._store.deleted)
            customer = self._build_customer(number, created=created)
            record = self._store.put(customer, now=organization.now())
            record.children = {
                "active_subscriptions": self._build_subscriptions(created),
                "granted_benefits": self._build_grants(created, number=number),
                "active_meters": self._build_meters(created),
            }
            if self._is_chosen(0.05):
                product = self.rng.choice(organization.catalogue.products)
                past_due = self._build_subscription(product, created=created)
                past_due_at = past_due["current_period_end"]
                record.other_subscriptions = [{**past_due, "status": "past_due", "past_due_at": past_due_at}]
            record.other_grants = self._build_revoked_grants(record)
            record.balance = self.rng.choice((0, 0, 500, -250))
            self._store.touch(record)
        return record

    def _step(self) -> datetime:
        """The next creation time: often the last one again, never an earlier one."""
        if self._burst > 0:
            self._burst -= 1
        else:
            self._burst = self.rng.choice(BURSTS)
            self._moment += timedelta(seconds=self.rng.randrange(1, 120), microseconds=self.rng.randrange(10**6))
        return self._moment

    def _is_chosen(self, share: float) -> bool:
        return self.rng.random() < share

    def make_id(self) -> str:
        """A UUID that depends on the seed only."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def _build_customer(self, number: int, *, created: datetime) -> dict[str, Any]:
        rng = self.rng
        name = rng.choice(samples.NAMES)
        name = None if name is None else name.replace("{n}", str(number))
        is_team = self._is_chosen(0.12)
        local = rng.choice(("user{n}", "User+{n}", "first.last{n}")).replace("{n}", str(number))
        email = None if is_team and self._is_chosen(0.4) else f"{local}@{rng.choice(samples.DOMAINS)}"
        external_id = rng.choice((*samples.EXTERNAL_IDS, self.make_id()))
        address = rng.choice(samples.ADDRESSES)
        is_modified = self._is_chosen(0.3)
        return {
            "id": self.make_id(),
            "created_at": format_timestamp(created),
            "modified_at": format_timestamp(created + timedelta(days=1)) if is_modified else None,
            "metadata": dict(rng.choice(samples.METADATA)),
            "external_id": external_id and external_id.format(n=number),
            "email": email,
            "email_verified": self._is_chosen(0.5),
            "type": "team" if is_team else "individual",
            "name": name,
            "billing_name": f"Billing {number} SARL" if self._is_chosen(0.1) else name,
            "billing_address": address and {field: address.get(field) for field in ADDRESS_FIELDS},
            "tax_id": rng.choice(samples.TAX_IDS),
            "locale": rng.choice(samples.LOCALES),
            "organization_id": self._organization.organization_id,
            "default_payment_method_id": self.make_id() if self._is_chosen(0.2) else None,
            "deleted_at": None,
            "first_user_event_at": format_timestamp(created) if self._is_chosen(0.3) else None,
            "avatar_url": build_avatar_url(email),
        }

    def _build_subscriptions(self, created: datetime) -> list[dict[str, Any]]:
        products = self._organization.catalogue.products
        chosen = self.rng.sample(products, self.rng.choice((0, 0, 1, 1, 2, 3)))
        return [self._build_subscription(product, created=created) for product in chosen]

    def _build_subscription(self, product: Product, *, created: datetime) -> dict[str, Any]:
        rng = self.rng
        started = created + timedelta(hours=rng.randrange(48))
        ends = started + PERIODS[product.recurring_interval]
        trial_ends = started + timedelta(days=7)
        is_trial = self._is_chosen(0.15)
        is_ending = self._is_chosen(0.15)
        return {
            "id": self.make_id(),
            "created_at": format_timestamp(started),
            "modified_at": format_timestamp(started + timedelta(minutes=5)) if is_ending else None,
            "custom_field_data": dict(rng.choice(samples.CUSTOM_FIELDS)),
            "metadata": dict(rng.choice(samples.METADATA)),
            "status": "trialing" if is_trial else "active",
            "amount": product.amount,
            "currency": product.currency,
            "recurring_interval": product.recurring_interval,
            "current_period_start": format_timestamp(started),
            "current_period_end": format_timestamp(trial_ends if is_trial else ends),
            "trial_start": format_timestamp(started) if is_trial else None,
            "trial_end": format_timestamp(trial_ends) if is_trial else None,
            "cancel_at_period_end": is_ending,
            "canceled_at": format_timestamp(started + timedelta(minutes=5)) if is_ending else None,
            "started_at": format_timestamp(started),
            "ends_at": format_timestamp(ends) if is_ending else None,
            "product_id": product.id,
            "discount_id": self.make_id() if self._is_chosen(0.1) else None,
            "price_id": product.price_id,
            "meters": [self._build_subscription_meter(one, created=started) for one in product.meter_ids],
        }

    def _build_subscription_meter(self, meter_id: str, *, created: datetime) -> dict[str, Any]:
        consumed = self.rng.choice(samples.CONSUMED)
        credited = self.rng.choice(samples.CREDITED)
        prices = {meter.id: meter.cents_per_unit for meter in self._organization.catalogue.meters}
        return {
            "created_at": format_timestamp(created),
            "modified_at": None,
            "id": self.make_id(),
            "consumed_units": consumed,
            "credited_units": credited,
            "amount": round(max(0.0, consumed - credited) * prices[meter_id]),
            "meter_id": meter_id,
        }

    def _build_grants(self, created: datetime, *, number: int) -> list[dict[str, Any]]:
        benefits = self._organization.catalogue.benefits
        chosen = self.rng.sample(benefits, self.rng.choice((0, 0, 1, 2, 3, len(benefits))))
        return [
            {
                "id": self.make_id(),
                "created_at": format_timestamp(created),
                "modified_at": None,
                "granted_at": format_timestamp(created + timedelta(seconds=2)),
                "benefit_id": benefit.id,
                "benefit_type": benefit.type,
                "benefit_metadata": dict(benefit.metadata),
                "properties": build_grant_properties(
                    benefit,
                    rng=self.rng,
                    make_id=self.make_id,
                    meter_id=self._organization.catalogue.meters[0].id,
                    created=created,
                    number=number,
                ),
            }
            for benefit in chosen
        ]

    def _build_revoked_grants(self, record: Record) -> list[dict[str, Any]]:
        """Now and then a grant that is over, from random numbers of its own: the customers stay what they were."""
        rng = random.Random(f"revoked {record.key}")  # noqa: S311  repeatable, not secret
        if rng.random() >= REVOKED_SHARE:
            return []
        benefit = rng.choice([one for one in self._organization.catalogue.benefits if one.type == "custom"])
        return [
            {
                "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "created_at": format_timestamp(record.created),
                "modified_at": format_timestamp(record.created + timedelta(days=3)),
                "granted_at": None,
                "is_granted": False,
                "revoked_at": format_timestamp(record.created + timedelta(days=3)),
                "is_revoked": True,
                "benefit_id": benefit.id,
                "properties": {},
            }
        ]

    def _build_meters(self, created: datetime) -> list[dict[str, Any]]:
        meters = self._organization.catalogue.meters
        built = []
        for meter in self.rng.sample(meters, self.rng.choice((0, 0, 1, 2, len(meters)))):
            consumed = self.rng.choice(samples.CONSUMED)
            credited = self.rng.choice(samples.CREDITED)
            is_used = self._is_chosen(0.5)
            built.append(
                {
                    "id": self.make_id(),
                    "created_at": format_timestamp(created),
                    "modified_at": format_timestamp(created + timedelta(days=2)) if is_used else None,
                    "meter_id": meter.id,
                    "consumed_units": consumed,
                    "credited_units": credited,
                    "balance": credited - consumed,
                }
            )
        return built
