"""Columns brought to what the kept JSON projects to, as after an upgrade that gave a field a column of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone

from polar_sync.models import Customer, CustomerObservation
from polar_sync.models.tables import Table, get_tables
from polar_sync.payloads import CUSTOMER, dump_canonical, load_canonical
from polar_sync.payloads.objects import ChildPayload, dump_extra
from polar_sync.store.children import write_children
from polar_sync.store.customers import lock_observation_records

_BATCH = 500
_TEXTS = ("payload", "extra", "state_extra")
# Since when a customer is deleted is not always Polar's to say.
_COLUMNS = tuple(name for name in CUSTOMER.columns if name != "deleted_at")


def refill_columns() -> dict[str, int]:
    """Project every mirrored row anew; returns by kind how many rows were not as they should be.

    Small transactions under the locks of the store, so that runs go on meanwhile. What `to_polar()` and `state()` give
    changes only where lists and states differed in a field that has a column now. Nothing is announced.
    """
    using = router.db_for_write(Customer)
    counts = {CUSTOMER.name: 0}
    for ids in _iterate_batches(Customer.all_objects.using(using)):
        counts[CUSTOMER.name] += _refill_customers(ids, using=using)
    for table in get_tables():
        rows = table.model._default_manager.using(using)  # noqa: SLF001 - Django's public name for it
        counts[table.name] = sum(_refill_children(table, ids, using=using) for ids in _iterate_batches(rows))
    return counts


def _iterate_batches(rows: QuerySet[Any]) -> Iterator[list[UUID]]:
    keys = rows.order_by("pk").values_list("pk", flat=True)
    last: UUID | None = None
    while some := list((keys.filter(pk__gt=last) if last else keys)[:_BATCH]):
        yield some
        last = some[-1]


def _refill_customers(ids: list[UUID], *, using: str) -> int:
    with transaction.atomic(using=using):
        rows = Customer.all_objects.using(using).filter(pk__in=_lock(ids, using=using))
        changed = [row for row in rows if _refill_customer(row)]
        if changed:
            columns = [*_COLUMNS, *_TEXTS, "synced_at"]
            Customer.all_objects.using(using).bulk_create(
                changed, update_conflicts=True, unique_fields=["id"], update_fields=columns
            )
    return len(changed)


def _refill_customer(row: Customer) -> bool:
    """Move each field to where it belongs, and project; whether that changed anything."""
    own, extra, state_extra = (
        load_canonical(text) if text else {} for text in (row.payload, row.extra, row.state_extra)
    )
    # What a list said of a field comes before what a state did, as it is never out of date.
    known = {name: value for name, value in {**state_extra, **extra}.items() if name in CUSTOMER.fields}
    unknown = {name: value for name, value in own.items() if name not in CUSTOMER.fields}
    texts = (
        dump_canonical({**known, **{name: value for name, value in own.items() if name in CUSTOMER.fields}}),
        dump_extra({**unknown, **extra}),
        dump_extra({**unknown, **state_extra}),
    )
    values = {**dict(zip(_TEXTS, texts, strict=True)), **CUSTOMER.project(texts[0])}
    now = [load_canonical(text) if text else {} for text in texts]
    if (own | extra, own | state_extra) != (now[0] | now[1], now[0] | now[2]):
        row.synced_at = timezone.now()  # whoever has an older answer is to be given this one
    return _set(row, {name: values[name] for name in (*_TEXTS, *_COLUMNS)})


def _refill_children(table: Table, ids: list[UUID], *, using: str) -> int:
    manager = table.model._default_manager.using(using)  # noqa: SLF001 - Django's public name for it
    with transaction.atomic(using=using):
        rows = manager.filter(pk__in=ids)
        locked = _lock(set(rows.values_list(table.owner, flat=True)), using=using)
        # What has come to another customer meanwhile was written, and so projected, by who brought it there.
        held = rows.filter(**{f"{table.owner}__in": locked})
        changed = [row for row in held if _set(row, table.kind.project(row.payload))]
        children = [
            ChildPayload(
                row.pk,
                getattr(row, table.parent),
                row.payload,
                row.is_in_state if table.is_flagged else True,
            )
            for row in changed
        ]
        if children:
            write_children(table, children, is_new=False, using=using)
    return len(changed)


def _lock(ids: Collection[UUID], *, using: str) -> list[UUID]:
    """Lock these customers as the store does; one from a dump without its observation gets the record to be locked."""
    bare = Customer.all_objects.using(using).filter(pk__in=list(ids), observation__isnull=True).order_by("pk")
    records = [CustomerObservation(customer_id=key) for key in bare.values_list("pk", flat=True)]
    if records:
        CustomerObservation.objects.using(using).bulk_create(records, ignore_conflicts=True)
    return list(lock_observation_records(ids, using=using))


def _set(row: Any, values: dict[str, Any]) -> bool:
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    return bool(changed)
