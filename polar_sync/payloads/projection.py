"""The columns that Polar's objects are projected to.

https://polar.sh/docs/api-reference/customers/state
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polar_sync.payloads import values
from polar_sync.payloads.canonical import load_canonical

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Projection:
    """The columns that a kind of object is projected to, each with its reader; `name` is for messages."""

    name: str
    columns: Mapping[str, Reader]
    timestamps: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = (name for name, reader in self.columns.items() if reader is values.read_timestamp)
        object.__setattr__(self, "timestamps", frozenset(names))

    def project(self, payload: str) -> dict[str, Any]:
        """Column values of a canonical object; an absent key projects as null."""
        data = load_canonical(payload)
        return {name: reader(data.get(name)) for name, reader in self.columns.items()}


_DATED: dict[str, Reader] = {"created_at": values.read_timestamp, "modified_at": values.read_timestamp}

CUSTOMER = Projection(
    "customer",
    {
        **_DATED,
        "metadata": values.read_json,
        "external_id": values.read_key,
        "email": values.read_label,
        "email_verified": values.read_boolean,
        "type": values.read_label,
        "name": values.read_label,
        "billing_name": values.read_text,
        "billing_address": values.read_json,
        "tax_id": values.read_json,
        "locale": values.read_text,
        "default_payment_method_id": values.read_uuid,
        "deleted_at": values.read_timestamp,
        "first_user_event_at": values.read_timestamp,
        "avatar_url": values.read_text,
    },
)
SUBSCRIPTION = Projection(
    "subscription",
    {
        **_DATED,
        "metadata": values.read_json,
        "custom_field_data": values.read_json,
        "status": values.read_label,
        "amount": values.read_integer,
        "currency": values.read_label,
        "recurring_interval": values.read_label,
        "current_period_start": values.read_timestamp,
        "current_period_end": values.read_timestamp,
        "trial_start": values.read_timestamp,
        "trial_end": values.read_timestamp,
        "cancel_at_period_end": values.read_boolean,
        "canceled_at": values.read_timestamp,
        "started_at": values.read_timestamp,
        "ends_at": values.read_timestamp,
        "product_id": values.read_uuid,
        "discount_id": values.read_uuid,
        "price_id": values.read_uuid,
        "seats": values.read_integer,
        "units": values.read_integer,
    },
)
SUBSCRIPTION_METER = Projection(
    "subscription meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "amount": values.read_integer,
    },
)
GRANT = Projection(
    "benefit grant",
    {
        **_DATED,
        "granted_at": values.read_timestamp,
        "benefit_id": values.read_uuid,
        "benefit_type": values.read_label,
        "benefit_metadata": values.read_json,
        "properties": values.read_json,
    },
)
METER = Projection(
    "meter",
    {
        **_DATED,
        "meter_id": values.read_uuid,
        "consumed_units": values.read_number,
        "credited_units": values.read_number,
        "balance": values.read_number,
    },
)
