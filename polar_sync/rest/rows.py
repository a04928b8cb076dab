"""A customer as it is read for an answer: the kept JSON and what tells its age, without a model around it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from polar_sync.models import Customer
from polar_sync.payloads import dump_canonical


class CustomerRow(NamedTuple):
    """What answers, cursors and conditional requests need; the other columns stay in the database."""

    pk: UUID
    organization_id: UUID
    payload: str
    extra: str
    synced_at: datetime | None
    observed_at: datetime | None
    state_observed_at: datetime | None = None
    created_at: datetime | None = None
    email: str | None = None
    name: str | None = None

    def to_polar(self) -> dict[str, Any]:
        """The customer as Polar's `get` answers it."""
        return Customer(id=self.pk, payload=self.payload, extra=self.extra).to_polar()

    def to_json(self) -> str:
        """The same as JSON in ASCII. What is kept is that already, where no field came from elsewhere."""
        return dump_canonical(self.to_polar()) if self.extra else self.payload


_COLUMNS = ("pk", "organization_id", "payload", "extra", "synced_at", "observation__observed_at")
# Reading a time costs more than anything else about a row, so a plain list goes without these.
_MORE_COLUMNS = (*_COLUMNS, "observation__state_observed_at", "created_at", "email", "name")


def read_rows(customers: QuerySet[Customer]) -> list[CustomerRow]:
    """All of these, in their order."""
    return [CustomerRow(*values) for values in customers.values_list(*_MORE_COLUMNS)]


def read_brief_rows(customers: QuerySet[Customer]) -> list[CustomerRow]:
    """The same without what neither an answer nor its age needs: no state, no cursor."""
    return [CustomerRow(*values) for values in customers.values_list(*_COLUMNS)]
