"""A customer's whole state in one statement, so that all of it is of one moment."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, QuerySet, TextField, Value

from polar_sync.models import BenefitGrant, Customer, Meter, Subscription, SubscriptionMeter

_CUSTOMER = "customer"
_PLACEHOLDER = UUID("00000000-0000-4000-8000-0000000000ff")
_KINDS: dict[str, tuple[type[Any], str]] = {
    "subscriptions": (Subscription, "customer_id"),
    "subscription_meters": (SubscriptionMeter, "subscription_id"),
    "benefit_grants": (BenefitGrant, "customer_id"),
    "meters": (Meter, "customer_id"),
}


class Row(NamedTuple):
    """An object as the database gives it: ids and times in its own types, which only have to be compared."""

    pk: Any
    parent: Any
    created_at: Any
    payload: str
    extra: str


def load_state(customer_id: UUID) -> dict[str, Any] | None:
    """The state of a living customer as Polar's JSON, None where there is none by now."""
    rows = _read_rows(customer_id)
    if not rows[_CUSTOMER]:
        return None
    own = rows[_CUSTOMER][0]
    customer = Customer(id=customer_id, payload=own.payload, state_extra=own.extra)
    children = {name: [_make_child(model, row) for row in rows[name]] for name, (model, _) in _KINDS.items()}
    meters = defaultdict(list)
    for meter in children.pop("subscription_meters"):
        meters[meter.subscription_id].append(meter)
    for subscription in children["subscriptions"]:
        _put(subscription, {"meters": meters[subscription.pk]})
    _put(customer, children)
    return customer.state()


def _read_rows(customer_id: UUID) -> dict[str, list[Row]]:
    """Everything, by kind; the models put it in order."""
    alias = router.db_for_read(Customer)
    sql, parameters = _compile(alias)
    connection = connections[alias]
    placeholder, given = (_prepare(one, connection) for one in (_PLACEHOLDER, customer_id))
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(sql, [given if one == placeholder else one for one in parameters])
        for kind, *row in cursor:
            rows[kind].append(Row(*row))
    return rows


def _prepare(value: UUID, connection: BaseDatabaseWrapper) -> Any:
    return Customer._meta.pk.get_db_prep_value(value, connection)  # noqa: SLF001 - Django's public name for it


@cache
def _compile(alias: str) -> tuple[str, tuple[Any, ...]]:
    """The statement and its parameters for a customer `_PLACEHOLDER`; to build it takes longer than to answer it."""
    key = _PLACEHOLDER
    own = _select(Customer.objects.filter(pk=key), _CUSTOMER, parent="pk", extra=F("state_extra"))
    parts = [
        _select(Subscription.objects.filter(customer=key, is_in_state=True), "subscriptions"),
        _select(SubscriptionMeter.objects.filter(subscription__customer=key), "subscription_meters", "subscription_id"),
        _select(BenefitGrant.objects.filter(customer=key), "benefit_grants"),
        _select(Meter.objects.filter(customer=key), "meters"),
    ]
    compiled: tuple[str, tuple[Any, ...]] = own.union(*parts, all=True).query.get_compiler(alias).as_sql()
    return compiled


def _select(
    rows: QuerySet[Any], kind: str, parent: str = "customer_id", extra: Any = None
) -> QuerySet[Any, tuple[str, UUID, UUID, datetime | None, str, str]]:
    text = TextField()
    return rows.order_by().values_list(
        Value(kind, output_field=text),
        F("pk"),
        F(parent),
        F("created_at"),
        F("payload"),
        Value("", output_field=text) if extra is None else extra,
    )


def _make_child(model: type[Any], row: Row) -> Any:
    parent = "subscription_id" if model is SubscriptionMeter else "customer_id"
    return model(id=row.pk, created_at=row.created_at, payload=row.payload, **{parent: row.parent})


def _put(row: Any, children: dict[str, list[Any]]) -> None:
    """Hand the children over as Django's prefetching would, so that the models put Polar's JSON together themselves."""
    row._prefetched_objects_cache = children  # noqa: SLF001 - where related managers look first
