"""What every mirrored object has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from polar_sync.payloads import load_canonical

M = TypeVar("M", bound="PolarModel")


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
