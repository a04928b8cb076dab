"""What every mirrored object has, and how rows are read and searched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models, router
from django.db.models import F, Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Contains, StartsWith
from django.utils.translation import gettext_lazy as _

from polar_sync.payloads import load_canonical

M = TypeVar("M", bound="PolarModel")
Row = TypeVar("Row", bound=models.Model)


def sort_by_age(rows: Iterable[M]) -> list[M]:
    """The oldest first, those of unknown age last, as Polar orders the meters of a state; ties by id."""
    return sorted(rows, key=lambda row: (row.created_at is None, row.created_at, row.pk))


class PolarModel(models.Model):
    """A mirrored object of Polar's, under Polar's own id.

    `payload` is the object as Polar sent it, as canonical JSON text; the columns are its projection, for joining,
    filtering and showing. Rows are written by `polar_sync.store` alone: a change made here is undone by the next
    observation.
    """

    id = models.UUIDField(_("Polar id"), primary_key=True, editable=False)
    created_at = models.DateTimeField(_("created at"), null=True)
    modified_at = models.DateTimeField(_("modified at"), null=True)
    payload = models.TextField(_("payload"), default="{}", editable=False)

    class Meta:
        abstract = True

    def to_polar(self) -> dict[str, Any]:
        """The object as Polar sent it, without the objects that are rows of their own."""
        data: dict[str, Any] = load_canonical(self.payload)
        return data


class PrimaryManager(models.Manager[Row]):
    """Reads where it writes, whatever the project's routers say of reading, unless a database is named.

    For the record of runs: what a run does next follows from rows that it wrote a moment ago.
    https://docs.djangoproject.com/en/stable/topics/db/multi-db/#automatic-database-routing
    """

    def get_queryset(self) -> models.QuerySet[Row]:
        """All rows, on the primary."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(router.db_for_write(self.model))


def on_primary(manager: models.Manager[Row]) -> Any:
    """The manager's rows as `PrimaryManager` reads them, of the manager's own query set class.

    For mirrored rows, which a project may well read from its replicas, but whoever writes them may not.
    """
    return manager.get_queryset().using(router.db_for_write(manager.model))


def match_part(column: str, text: str) -> Q:
    """Rows that hold the text anywhere in the column.

    Not `icontains`, which compares in upper case: "ς" would be "Σ" then and "ı" be "I", and neither is on Polar.
    """
    return Q(Contains(Lower(F(column)), Lower(Value(text))))


def match_beginning(column: str, text: str) -> Q:
    """Rows whose column begins with the text."""
    return Q(StartsWith(Lower(F(column)), Lower(Value(text))))
