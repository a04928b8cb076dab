"""Polar's objects made up for tests, complete as the contract has them; every id follows from a number or a name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from polar_sync.models import Organization, WebhookDelivery
from polar_sync.payloads import Interval
from polar_sync.payloads.kinds import Kind, get_nested_kinds, get_state_kinds
from polar_sync.payloads.values import read_timestamp
from polar_sync.store import ApplyResult, Observation, apply, observe_absence, observe_customer, observe_state

ORGANIZATION_ID = UUID(bytes=uuid5(NAMESPACE_URL, "organization").bytes, version=4)
CREATED_AT = "2025-01-01T00:00:00.123456Z"
CHILD_ARRAYS = ("active_subscriptions", "granted_benefits", "active_meters")
TIMESTAMPS = frozenset(
    {
        *("created_at", "modified_at", "deleted_at", "first_user_event_at", "current_period_start"),
        *("current_period_end", "trial_start", "trial_end", "canceled_at", "started_at", "ends_at", "granted_at"),
    }
)


def make_uuid(name: object) -> UUID:
    """Of version 4, as all of Polar's ids are."""
    return UUID(bytes=uuid5(NAMESPACE_URL, str(name)).bytes, version=4)


def make_id(name: object) -> str:
    return str(make_uuid(name))


def at(number: float) -> datetime:
    """A time on Polar's clock, later than any that the objects below tell of.

    From each number to the next it is so long that a state of the one can have been read at no time of the other.
    """
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=2 * number)


def read_at(number: float) -> Interval:
    """As `at`, for what was read at that very moment."""
    return Interval.at(at(number))


def build_customer(name: object, /, **fields: Any) -> dict[str, Any]:
    return {
        "id": make_id(name),
        "created_at": CREATED_AT,
        "modified_at": None,
        "metadata": {"plan": "pro", "seats": 3, "ratio": 0.5, "is_vip": True},
        "external_id": f"usr_{name}",
        "email": f"{name}@example.com",
        "email_verified": True,
        "type": "individual",
        "name": f"Ada {name}",
        "billing_name": None,
        "billing_address": {
            "line1": "3 rue de l'Épée",
            "line2": None,
            "postal_code": "69001",
            "city": "Lyon",
            "state": None,
            "country": "FR",
        },
        "tax_id": ["FR40303265045", "eu_vat"],
        "locale": "fr",
        "organization_id": str(ORGANIZATION_ID),
        "default_payment_method_id": None,
        "deleted_at": None,
        "first_user_event_at": None,
        "avatar_url": "https://avatars.example/1",
        **fields,
    }


def build_subscription(name: object, /, **fields: Any) -> dict[str, Any]:
    return {
        "id": make_id(f"subscription {name}"),
        "created_at": CREATED_AT,
        "modified_at": None,
        "metadata": {},
        "custom_field_data": {"newsletter": True},
        "status": "active",
        "amount": 2500,
        "currency": "usd",
        "recurring_interval": "month",
        "current_period_start": CREATED_AT,
        "current_period_end": "2025-02-01T00:00:00Z",
        "trial_start": None,
        "trial_end": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "started_at": CREATED_AT,
        "ends_at": None,
        "product_id": make_id("product"),
        "discount_id": None,
        "price_id": make_id("price"),
        "seats": None,
        "units": None,
        "meters": [],
        **fields,
    }


def build_subscription_meter(name: object, /, **fields: Any) -> dict[str, Any]:
    return {
        "id": make_id(f"subscription meter {name}"),
        "created_at": CREATED_AT,
        "modified_at": None,
        "consumed_units": 12.5,
        "credited_units": 10,
        "amount": 250,
        "meter_id": make_id("meter"),
        **fields,
    }


def build_grant(name: object, /, **fields: Any) -> dict[str, Any]:
    return {
        "id": make_id(f"grant {name}"),
        "created_at": CREATED_AT,
        "modified_at": None,
        "granted_at": CREATED_AT,
        "benefit_id": make_id("benefit"),
        "benefit_type": "custom",
        "benefit_metadata": {"tier": "gold"},
        "properties": {},
        **fields,
    }


def build_meter(name: object, /, **fields: Any) -> dict[str, Any]:
    return {
        "id": make_id(f"meter {name}"),
        "created_at": CREATED_AT,
        "modified_at": None,
        "meter_id": make_id("meter"),
        "consumed_units": 0.1 + 0.2,
        "credited_units": 0,
        "balance": -0.3,
        **fields,
    }


TIMES = [
    *("2025-01-01T00:00:05.5Z", "2025-01-01T00:00:05Z", "2025-01-01T02:00:04+02:00"),
    *("no time", "2024-12-31T00:00:00Z"),
]
OLDEST_FIRST = [TIMES[place] for place in (4, 2, 1, 0, 3)]


def build_state_of_ages(name: object, /) -> dict[str, Any]:
    """A state whose meters, and those of its subscription, were created at `TIMES`."""
    return build_state(
        name,
        subscriptions=[
            build_subscription(
                name,
                meters=[build_subscription_meter(f"{name} {one}", created_at=one) for one in TIMES],
            )
        ],
        meters=[build_meter(f"{name} {one}", created_at=one) for one in TIMES],
    )


def build_state(
    name: object,
    /,
    *,
    subscriptions: list[Any] | None = None,
    grants: list[Any] | None = None,
    meters: list[Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    return {
        **build_customer(name),
        "active_subscriptions": subscriptions or [],
        "granted_benefits": grants or [],
        "active_meters": meters or [],
        **fields,
    }


def build_full_state(name: object, *, version: int = 0, children: int = 2) -> dict[str, Any]:
    """A state with children of every kind; another version says something else of every object."""
    names = [f"{name}.{number}" for number in range(children)]
    meters = {one: [build_subscription_meter(one, consumed_units=version)] for one in names}
    return build_state(
        name,
        subscriptions=[build_subscription(one, amount=version, meters=meters[one]) for one in names],
        grants=[build_grant(one, properties={"version": version}) for one in names],
        meters=[build_meter(one, balance=version) for one in names],
        metadata={"version": version},
    )


def create_organization(name: str = "default", *, polar_id: UUID = ORGANIZATION_ID) -> Organization:
    return Organization.objects.create(name=name, polar_id=polar_id, server="production")


def apply_states(organization: Organization, *states: Any, interval: Interval) -> ApplyResult:
    return apply([observe_state(state, interval=interval) for state in states], organization=organization)


def apply_customers(organization: Organization, *customers: Any, interval: Interval) -> ApplyResult:
    return apply([observe_customer(customer, interval=interval) for customer in customers], organization=organization)


def apply_absences(organization: Organization, *names: object, interval: Interval) -> ApplyResult:
    observations: list[Observation] = [observe_absence(make_uuid(name), interval=interval) for name in names]
    return apply(observations, organization=organization)


def create_delivery(organization: Organization, name: object, /, **fields: Any) -> WebhookDelivery:
    """Of a `customer.state_changed` about the customer of this name; `data` is what it tells."""
    event = {
        "type": fields.get("type", "customer.state_changed"),
        "timestamp": CREATED_AT,
        "data": fields.pop("data", None) or build_state(name),
    }
    given = {
        "webhook_id": make_id(f"delivery {name}"),
        "type": event["type"],
        "timestamp": at(0),
        "customer_id": make_uuid(name),
        "payload": json.dumps(event),
    }
    return WebhookDelivery.objects.create(organization=organization, **{**given, **fields})


def normalize_state(state: dict[str, Any]) -> Any:
    """Two states are equal where these are: arrays as sets by id, timestamps as instants, True not 1."""
    children = {kind.array: _index(state[kind.array], kind) for kind in get_state_kinds()}
    return {**_normalize_object(state), **children}


def _index(items: list[dict[str, Any]], kind: Kind) -> dict[UUID, Any]:
    found: dict[UUID, Any] = {}
    for item in items:
        normal = _normalize_object(item)
        for nested in get_nested_kinds(kind):
            if isinstance(item.get(nested.array), list):
                normal[nested.array] = _index(item[nested.array], nested)
        key = UUID(item["id"])
        assert key not in found, f"{key} comes twice"
        found[key] = normal
    return found


def _normalize_object(item: dict[str, Any]) -> dict[str, Any]:
    return {key: _normalize(value, is_timestamp=key in TIMESTAMPS) for key, value in item.items()}


def _normalize(value: Any, *, is_timestamp: bool) -> Any:
    if is_timestamp and (instant := read_timestamp(value)):
        return instant
    # Through the reader of JSON, as that goes deeper than functions in Python could.
    return json.loads(json.dumps(value), parse_int=_read_number, parse_float=_read_number)


def _read_number(text: str) -> tuple[str, Fraction]:
    return "number", Fraction(text)
