"""Finding a customer by whatever somebody has at hand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from polar_sync.models import BenefitGrant, Customer, Meter, Subscription, SubscriptionMeter

_TEXTS = ("email", "name", "billing_name", "external_id")
_MAX_WORDS = 8


def search_customers(customers: QuerySet[Any], text: str) -> QuerySet[Any]:
    """By any of Polar's ids where the text is one, else by every word somewhere in email, name or external id."""
    # NUL would be refused by PostgreSQL, lone surrogates by every driver; neither is in any column.
    text = text.replace("\0", "").encode("utf-8", "replace").decode().strip()
    polar_id = _read_id(text)
    if polar_id is not None:
        return customers.filter(pk__in=_find_by_id(polar_id, text))
    for word in text.split()[:_MAX_WORDS]:
        found = Q()
        for column in _TEXTS:
            found |= Q(**{f"{column}__icontains": word})
        customers = customers.filter(found)
    return customers


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _find_by_id(polar_id: UUID, text: str) -> QuerySet[Any, Any]:
    """The keys of who has this id, as their own or as that of anything that is theirs or that something refers to.

    A union, as each of its parts goes through an index, which conditions on several tables joined by OR do not.
    """
    own = Customer.all_objects.filter(
        Q(pk=polar_id) | Q(organization=polar_id) | Q(default_payment_method_id=polar_id) | Q(external_id=text)
    )
    subscriptions = Subscription.objects.filter(
        Q(pk=polar_id) | Q(product=polar_id) | Q(discount_id=polar_id) | Q(price_id=polar_id)
    )
    subscription_meters = SubscriptionMeter.objects.filter(pk=polar_id)
    grants = BenefitGrant.objects.filter(Q(pk=polar_id) | Q(benefit=polar_id))
    meters = Meter.objects.filter(Q(pk=polar_id) | Q(meter=polar_id))
    return own.values_list("pk").union(
        subscription_meters.values_list("subscription__customer"),
        *(rows.values_list("customer") for rows in (subscriptions, grants, meters)),
    )
