"""The names beside the ids: products, benefits and meters, as far as Polar has shown them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import router, transaction
from django.utils import timezone

from polar_sync.exceptions import PayloadError
from polar_sync.models import Benefit, MeterDefinition, Organization, Product
from polar_sync.payloads import dump_canonical, load_canonical
from polar_sync.payloads import values as read

Found = Mapping[tuple[str, str], Mapping[str, Any]]
"""Objects as Polar showed them, by the model's name in lower case and Polar's id."""

_MODELS: Mapping[str, Any] = {"product": Product, "benefit": Benefit, "meterdefinition": MeterDefinition}
# A benefit's properties can hold a secret, such as the token of a chat server, and a product shows its benefits.
_SECRET = frozenset({"properties"})
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "product": ("recurring_interval", "recurring_interval_count"),
    "benefit": ("type",),
    "meterdefinition": ("unit",),
}


def apply_catalogue(found: Found, *, organization: Organization) -> int:
    """Keep what is new or changed, two statements a kind at most; returns how many rows that wrote."""
    using = router.db_for_write(Product)
    written = 0
    with transaction.atomic(using=using):
        for name, model in _MODELS.items():
            rows = [
                _build(name, model, entry, organization) for (kind, _), entry in sorted(found.items()) if kind == name
            ]
            written += _write(model, name, {row.pk: row for row in rows if row is not None}, using=using)
    return written


def _build(name: str, model: Any, entry: Mapping[str, Any], organization: Organization) -> Any:
    """The row of one object; None for one that cannot be kept, as a name is no reason to fail a customer."""
    key = read.read_uuid(entry.get("id"))
    try:
        payload = dump_canonical(_strip(entry))
    except (PayloadError, RecursionError):
        return None
    if key is None or organization.polar_id is None:
        return None
    row = model(
        id=key,
        organization_id=organization.polar_id,
        name=read.read_label(entry.get("description" if name == "benefit" else "name")) or "",
        is_archived=bool(entry.get("is_archived") or entry.get("archived_at") or entry.get("is_deleted")),
        payload=payload,
        observed_at=timezone.now(),
    )
    for column in _COLUMNS[name]:
        reader = read.read_integer if column.endswith("_count") else read.read_label
        setattr(row, column, reader(entry.get(column)))
    return row


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {field: _strip(item) for field, item in value.items() if field not in _SECRET}
    return [_strip(item) for item in value] if isinstance(value, list) else value


def _write(model: Any, name: str, rows: Mapping[Any, Any], *, using: str) -> int:
    if not rows:
        return 0
    stored = dict(model.objects.using(using).filter(pk__in=rows).values_list("pk", "payload"))
    changed = [row for key, row in sorted(rows.items()) if _is_newer(row.payload, stored.get(key))]
    if changed:
        columns = ["name", "is_archived", "payload", "observed_at", *_COLUMNS[name]]
        model.objects.using(using).bulk_create(
            changed, update_conflicts=True, unique_fields=["id"], update_fields=columns
        )
    return len(changed)


def _is_newer(shown: str, stored: str | None) -> bool:
    """Whether this is another version of an object, and not an older one: events do not come in order."""
    if stored is None or shown == stored:
        return stored is None
    version, known = (read.read_newest(load_canonical(payload)) for payload in (shown, stored))
    return version is None or known is None or version >= known
