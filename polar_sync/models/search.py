"""Conditions on a part of a text that ignore case as Polar does: `lower(column) LIKE …`."""

from __future__ import annotations

from django.db.models import F, Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Contains, StartsWith


def match_part(column: str, text: str) -> Q:
    """Rows that hold the text anywhere in the column.

    Not `icontains`, which compares in upper case: "ς" would be "Σ" then and "ı" be "I", and neither is on Polar.
    """
    return Q(Contains(Lower(F(column)), Lower(Value(text))))


def match_beginning(column: str, text: str) -> Q:
    """Rows whose column begins with the text."""
    return Q(StartsWith(Lower(F(column)), Lower(Value(text))))
