"""The CSV export: https://polar.sh/docs/api-reference/customers/export."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from polar_sync.models import Customer

COLUMNS = (
    *("ID", "External ID", "Created At", "Email", "Name", "Tax ID", "Billing Address Line 1"),
    *("Billing Address Line 2", "Billing Address City", "Billing Address State", "Billing Address Zip"),
    *("Billing Address Country", "Metadata"),
)
_ADDRESS = ("line1", "line2", "city", "state", "postal_code", "country")
_CHUNK = 2000


class _Echo:
    """A file that gives back what is written to it, for `csv`."""

    def write(self, text: str) -> str:
        return text


def stream_customers(customers: QuerySet[Customer]) -> Iterator[bytes]:
    """The lines of the export, oldest customer first, read from the database as they go out.

    As Polar's, but for the column Tax ID: the number, where Polar writes the `repr` of a Python tuple.
    """
    writer = csv.writer(_Echo(), lineterminator="\r\n")
    yield _encode(writer.writerow(COLUMNS))
    ordered = customers.only("id", "created_at", "payload", "extra", "deleted_at").order_by("created_at", "pk")
    for customer in ordered.iterator(chunk_size=_CHUNK):
        yield _encode(writer.writerow(_build_row(customer)))


def _encode(line: Any) -> bytes:
    return str(line).encode("utf-8", "replace")


def _build_row(customer: Customer) -> list[str]:
    data = customer.to_polar()
    tax_id = data.get("tax_id")
    address = data.get("billing_address")
    parts = address if isinstance(address, dict) else {}
    metadata = data.get("metadata")
    return [
        str(customer.pk),
        _show(data.get("external_id")),
        customer.created_at.isoformat() if customer.created_at else _show(data.get("created_at")),
        _show(data.get("email")),
        _show(data.get("name")),
        _show(tax_id[0] if isinstance(tax_id, list) and tax_id else tax_id),
        *(_show(parts.get(name)) for name in _ADDRESS),
        _show_metadata(metadata) if metadata else "",
    ]


def _show_metadata(metadata: Any) -> str:
    """The shortest key first, which is how PostgreSQL keeps Polar's."""
    if isinstance(metadata, dict):
        metadata = {key: metadata[key] for key in sorted(metadata, key=_rank)}
    return json.dumps(metadata)


def _rank(key: str) -> tuple[int, bytes]:
    encoded = key.encode("utf-8", "replace")
    return len(encoded), encoded


def _show(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)
