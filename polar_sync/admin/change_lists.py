"""Django's list of rows, in orders that indexes have, and with answers to parameters that mean nothing."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.db import DataError
from django.db.models import JSONField, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

# Comparisons for which no value makes PostgreSQL end the transaction, as a pattern can, or a part of JSON.
_COMPARISONS = frozenset({"exact", "in", "isnull", "gt", "gte", "lt", "lte", "year", "month", "day"})
_UNUSABLE = (ValueError, OverflowError, DataError)


class IndexedChangeList(ChangeList):
    """A list whose rows come by the chosen columns and then by the key, in the direction of the first."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Without the list's own order, which Django appends to what is chosen.

        No index has both: where many rows have the same in the column, null mostly, all of these would be sorted.
        """
        ordering: Any = super().get_ordering(request, queryset.order_by())
        if ordering == ["-pk"]:
            return super().get_ordering(request, queryset)
        if ordering[-1] == "-pk" and not str(ordering[0]).startswith("-"):
            ordering[-1] = "pk"
        return ordering

    def get_filters(self, request: HttpRequest) -> Any:
        """Django's, for whom December 9999, which ends when no calendar goes on, is an error of the server."""
        try:
            return super().get_filters(request)
        except _UNUSABLE as error:
            raise IncorrectLookupParameters(error) from error

    def get_results(self, request: HttpRequest) -> None:
        """Django's, for whom a value is an error of the server if only the database's driver finds it to be none."""
        try:
            super().get_results(request)
        except _UNUSABLE as error:
            raise IncorrectLookupParameters(error) from error


def is_comparison(model: type[Model], lookup: str) -> bool:
    """Whether a parameter compares a column; True also where there is no such column, of which Django speaks itself."""
    found: Any = model
    field: Any = None
    rest = lookup.split(LOOKUP_SEP)
    while rest and (field is None or field.is_relation):
        options = found._meta  # noqa: SLF001 - Django's public name for it
        try:
            field = options.pk if rest[0] == "pk" else options.get_field(rest[0])
        except FieldDoesNotExist:
            break
        found, rest = field.related_model, rest[1:]
    return field is None or (not isinstance(field, JSONField) and _COMPARISONS.issuperset(rest))
