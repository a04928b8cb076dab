"""Finding a customer by whatever somebody has at hand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Exists, Q, QuerySet

from polar_sync.models import (
    BenefitGrant,
    Customer,
    Meter,
    Organization,
    Subscription,
    SubscriptionMeter,
    WebhookDelivery,
)
from polar_sync.models.base import match_part

_TEXTS = ("email", "name", "billing_name", "external_id")
_MAX_WORDS = 8


def search_customers(customers: QuerySet[Any], text: str) -> QuerySet[Any]:
    """By any of Polar's ids where the text is one, else by every word somewhere in email, name or external id."""
    text = _clean(text)
    polar_id = _read_id(text)
    if polar_id is not None:
        return _filter_by_id(customers, "pk", polar_id, text)
    for word in text.split()[:_MAX_WORDS]:
        found = Q()
        for column in _TEXTS:
            found |= match_part(column, word)
        customers = customers.filter(found)
    return customers


def search_by_customer(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The rows of the customers that the same text finds."""
    text = _clean(text)
    if not text:
        return rows
    polar_id = _read_id(text)
    if polar_id is not None:
        return _filter_by_id(rows, "customer", polar_id, text)
    return rows.filter(customer__in=search_customers(Customer.all_objects.order_by(), text).values("pk"))


def search_deliveries(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """By the webhook id, or by any of Polar's ids: of the customer, mirrored or not, or of anything that is theirs."""
    text = _clean(text)
    if not text:
        return rows
    polar_id = _read_id(text)
    # With the organizations, by which the index on it begins.
    organizations = Organization.objects.order_by().values("pk")
    found = rows.filter(organization__in=organizations, webhook_id__in={text, str(polar_id or text)})
    if polar_id is None or found.order_by().exists():
        return found
    own = WebhookDelivery.objects.order_by().filter(customer_id=polar_id).values("customer_id")
    return _filter_by_id(rows, "customer_id", polar_id, text, own)


def _clean(text: str) -> str:
    """NUL would be refused by PostgreSQL, lone surrogates by every driver; neither is in any column."""
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _filter_by_id(
    rows: QuerySet[Any], path: str, polar_id: UUID, text: str, *further: QuerySet[Any, Any]
) -> QuerySet[Any]:
    """The rows whose customer, at `path`, has this id as their own or as that of anything that is theirs.

    A statement of its own asks first, each on its own index, where the id occurs, so that the list has one condition.
    For several on several tables a database reads everything: joined by OR to try them, in a union to merge them.
    `further` are keys of customers elsewhere.
    """
    places = [*_list_places(polar_id, text), *further]
    flags = Organization.objects.order_by().values_list(*(Exists(keys) for keys in places)).first() or ()
    found = [keys for keys, is_found in zip(places, flags, strict=False) if is_found]
    if not found:
        return rows.none()
    return rows.filter(**{f"{path}__in": found[0].union(*found[1:]) if found[1:] else found[0]})


def _list_places(polar_id: UUID, text: str) -> list[QuerySet[Any, Any]]:
    """Wherever an id can occur: the keys of the customers who have it there."""
    customers, subscriptions = Customer.all_objects.order_by(), Subscription.objects.order_by()
    grants, meters = BenefitGrant.objects.order_by(), Meter.objects.order_by()
    return [
        customers.filter(pk=polar_id).values("pk"),
        customers.filter(external_id=text).values("pk"),
        customers.filter(default_payment_method_id=polar_id).values("pk"),
        customers.filter(organization__polar_id=polar_id).values("pk"),
        subscriptions.filter(pk=polar_id).values("customer"),
        subscriptions.filter(product=polar_id).values("customer"),
        subscriptions.filter(discount_id=polar_id).values("customer"),
        subscriptions.filter(price_id=polar_id).values("customer"),
        SubscriptionMeter.objects.order_by().filter(pk=polar_id).values("subscription__customer"),
        grants.filter(pk=polar_id).values("customer"),
        grants.filter(benefit=polar_id).values("customer"),
        meters.filter(pk=polar_id).values("customer"),
        meters.filter(meter=polar_id).values("customer"),
    ]
