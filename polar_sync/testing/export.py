"""The CSV export, written as Polar writes it: https://polar.sh/docs/api-reference/customers/export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from polar_sync.testing.store import Record

ADDRESS_COLUMNS = {
    "Billing Address Line 1": "line1",
    "Billing Address Line 2": "line2",
    "Billing Address City": "city",
    "Billing Address State": "state",
    "Billing Address Zip": "postal_code",
    "Billing Address Country": "country",
}
COLUMNS = ("ID", "External ID", "Created At", "Email", "Name", "Tax ID", *ADDRESS_COLUMNS, "Metadata")
HEADERS = [
    ("Content-Type", "text/csv; charset=utf-8"),
    ("Content-Disposition", 'attachment; filename="polar-customers.csv"'),
]


def build_export(records: Iterable[Record]) -> bytes:
    """The whole file, rows in the order given; a record that is no object is left out."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(build_row(record.customer) for record in records if isinstance(record.customer, dict))
    return text.getvalue().encode("utf-8", "replace")


def build_row(customer: dict[str, Any]) -> list[Any]:
    """One customer's cells; null is an empty cell."""
    address = customer.get("billing_address")
    known = address if isinstance(address, dict) else {}
    metadata = customer.get("metadata")
    return [
        customer.get("id"),
        customer.get("external_id"),
        format_created_at(customer.get("created_at")),
        customer.get("email"),
        customer.get("name"),
        format_tax_id(customer.get("tax_id")),
        *(known.get(name) for name in ADDRESS_COLUMNS.values()),
        json.dumps(metadata) if metadata else "",
    ]


def format_created_at(value: Any) -> Any:
    """The instant with an offset (`+00:00`) instead of the `Z` of the JSON."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except (TypeError, ValueError):
        return value


def format_tax_id(value: Any) -> Any:
    """The pair as its Python representation: that is what the real export holds."""
    match value:
        case [str(number), str(name)]:
            return f"({number!r}, <TaxIDFormat.{name}: {name!r}>)"
        case _:
            return value
