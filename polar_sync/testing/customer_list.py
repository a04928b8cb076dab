"""The customer list and its CSV export, as Polar writes them.

The parameters: https://polar.sh/docs/api-reference/customers/list.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from polar_sync.payloads.texts import read_bool
from polar_sync.testing.customers import CustomerStore, Record, sort_records
from polar_sync.testing.http import Detail, refuse_request
from polar_sync.testing.paging import (
    Paging,
    Values,
    check_choice,
    check_paging,
    group_values,
    read_paging,
    write_page,
)
from polar_sync.testing.validation import check_bool_text, check_uuids, read_uuid

SORTINGS = ("created_at", "-created_at", "email", "-email", "name", "-name")
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
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


@dataclass(slots=True)
class ListQuery:
    """What a list request asks for, read and checked."""

    paging: Paging = field(default_factory=Paging)
    sorting: tuple[str, ...] = ("-created_at",)
    organization_ids: list[str] = field(default_factory=list)
    email: str | None = None
    query: str | None = None
    is_active: bool | None = None
    metadata: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_filtered(self) -> bool:
        """Some customers may be left out."""
        texts = (self.email, self.query, self.is_active)
        return bool(self.organization_ids or self.metadata) or any(text is not None for text in texts)


def read_list_query(pairs: Iterable[tuple[str, str]]) -> ListQuery:
    """Read the query of a list request; the last of a repeated single parameter counts, unknown ones are ignored.

    Raises the 422 that Polar answers to wrong values and its 500 to a page number beyond 64 bits.
    """
    values = group_values(pairs)
    wrong = check_list_query(values)
    if wrong:
        raise refuse_request(wrong)
    asked = ListQuery(paging=read_paging(values))
    if "sorting" in values:
        asked.sorting = tuple(values["sorting"])
    if "active" in values:
        asked.is_active = read_bool(values["active"][-1])
    asked.organization_ids = [read_uuid(one) or one for one in values.get("organization_id", ())]
    asked.email = values["email"][-1] if "email" in values else None
    asked.query = values["query"][-1] if "query" in values else None
    asked.metadata = {hit[1]: found for name, found in values.items() if (hit := _METADATA.fullmatch(name)) is not None}
    return asked


def check_list_query(values: Values) -> list[Detail]:
    """What is wrong with the parameters of a list request."""
    wrong = check_paging(values)
    for index, one in enumerate(values.get("sorting", ())):
        wrong += check_choice(one, choices=SORTINGS, location=("query", "sorting", index))
    wrong += check_uuids(values.get("organization_id", ()), location=("query", "organization_id"))
    for text in values.get("active", ())[-1:]:
        wrong += check_bool_text(text, location=("query", "active"))
    return wrong


def build_page(
    store: CustomerStore, asked: ListQuery, *, organization_id: str, ties: random.Random | None = None
) -> bytes:
    """The JSON of one page. With `ties`, equal sort keys come in a new random order at each call."""
    if ties is None:
        found: Sequence[Record] = store.sort(asked.sorting)
    else:
        found = sort_records(ties.sample(list(store), len(store)), asked.sorting)
    if asked.is_filtered:
        found = [record for record in found if is_match(record, asked, organization_id=organization_id)]
    items = b",".join(record.customer_body for record in found[asked.paging.window])
    return write_page(items, total=len(found), paging=asked.paging)


def is_match(record: Record, asked: ListQuery, *, organization_id: str) -> bool:
    """The record passes every filter."""
    if asked.organization_ids and organization_id not in asked.organization_ids:
        return False
    if asked.email is not None and not _has_email(record, asked.email):
        return False
    if asked.query is not None and not _has_text(record, asked.query.lower()):
        return False
    if asked.is_active is not None and record.has_active_subscription is not asked.is_active:
        return False
    return all(_get_metadata_text(record, key) in wanted for key, wanted in asked.metadata.items())


def _has_email(record: Record, wanted: str) -> bool:
    email = record.get_text("email")
    return email is not None and email.lower() == wanted.lower()


def _has_text(record: Record, wanted: str) -> bool:
    texts = (record.get_text(name) or "" for name in ("email", "name", "billing_name"))
    if any(wanted in text.lower() for text in texts):
        return True
    external_id = record.get_text("external_id")
    return external_id is not None and external_id.lower().startswith(wanted)


def _get_metadata_text(record: Record, key: str) -> str | None:
    """A metadata value as the text that PostgreSQL's `->>` gives: text bare, everything else as JSON."""
    metadata: Any = record.customer.get("metadata") if isinstance(record.customer, dict) else None
    if not isinstance(metadata, dict) or key not in metadata:
        return None
    value = metadata[key]
    return value if isinstance(value, str) else json.dumps(value)


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
