"""The loop that every team writes first: one state a customer, `update_or_create` for each object."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import requests
from django.utils.dateparse import parse_datetime

from polar_sync.models import BenefitGrant, Customer, Meter, Organization, Subscription, SubscriptionMeter


def mirror_naively(*, url: str, token: str) -> tuple[int, int]:
    """List, get each state, save each object; gives back the number of customers and of requests."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    number = asked = page = 0
    while True:
        page += 1
        query: dict[str, Any] = {"page": page, "limit": 100, "sorting": "created_at"}
        items = session.get(f"{url}/v1/customers/", params=query).json()["items"]
        asked += 1
        if not items:
            return number, asked
        for item in items:
            _save(session.get(f"{url}/v1/customers/{item['id']}/state").json())
            asked += 1
            number += 1


def _save(state: dict[str, Any]) -> None:
    organization_id = UUID(state["organization_id"])
    Organization.objects.get_or_create(polar_id=organization_id, defaults={"name": "naive", "server": ""})
    customer, _ = Customer.all_objects.update_or_create(
        pk=state["id"],
        defaults={
            "organization_id": organization_id,
            **{name: state[name] for name in ("email", "name", "external_id", "type", "metadata", "billing_address")},
            "created_at": parse_datetime(state["created_at"]),
        },
    )
    for item in state["active_subscriptions"]:
        _save_subscription(customer, item)
    for item in state["granted_benefits"]:
        names = ("benefit_id", "benefit_type", "properties")
        BenefitGrant.objects.update_or_create(
            pk=item["id"], defaults={"customer": customer, **{name: item[name] for name in names}}
        )
    for item in state["active_meters"]:
        Meter.objects.update_or_create(pk=item["id"], defaults={"customer": customer, **_get_units(item, "balance")})
    Subscription.objects.filter(customer=customer).exclude(pk__in=_get_ids(state["active_subscriptions"])).delete()
    BenefitGrant.objects.filter(customer=customer).exclude(pk__in=_get_ids(state["granted_benefits"])).delete()
    Meter.objects.filter(customer=customer).exclude(pk__in=_get_ids(state["active_meters"])).delete()


def _save_subscription(customer: Customer, item: dict[str, Any]) -> None:
    names = ("status", "amount", "currency", "recurring_interval", "product_id", "cancel_at_period_end", "metadata")
    dates = ("created_at", "current_period_start", "current_period_end", "ends_at")
    values = {name: item[name] for name in names} | {
        name: parse_datetime(item[name]) if item[name] else None for name in dates
    }
    subscription, _ = Subscription.objects.update_or_create(pk=item["id"], defaults={"customer": customer, **values})
    for meter in item["meters"]:
        SubscriptionMeter.objects.update_or_create(
            pk=meter["id"], defaults={"subscription": subscription, **_get_units(meter, "amount")}
        )


def _get_units(item: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: item[each] for each in ("meter_id", "consumed_units", "credited_units", name)}


def _get_ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]
