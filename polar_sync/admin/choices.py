"""What the filters offer, in one small query for all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.db.models import QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.http import HttpRequest

from polar_sync.admin.display_names import BENEFIT_TYPES, get_display_name
from polar_sync.admin.text import clean
from polar_sync.models import Benefit, Organization, Product

MAX_CHOICES = 200
_KEPT = "_polar_sync_choices"


def get_choices(request: HttpRequest) -> dict[str, list[tuple[str, str]]]:
    """Value and name by `organization`, `product` and `benefit_type`; asked once a request."""
    kept: dict[str, list[tuple[str, str]]] | None = getattr(request, _KEPT, None)
    if kept is None:
        kept = _read_choices()
        setattr(request, _KEPT, kept)
    return kept


def _read_choices() -> dict[str, list[tuple[str, str]]]:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    rows = _select("organization", Organization.objects.all(), "polar_id").union(
        _select("product", Product.objects.all(), "pk"),
        _select("benefit_type", Benefit.objects.exclude(type=None), "type", name="type").distinct(),
        all=True,
    )
    # Unordered once more: from Django 6.1 on a union takes the first model's own ordering, by a column it has not.
    for kind, value, name in rows.order_by():
        if value is not None:
            found[kind].append((_read_value(kind, value), clean(name or value)))
    found_types = {value for value, _name in found["benefit_type"]}
    found["benefit_type"] = [(value, clean(get_display_name(value))) for value in {*BENEFIT_TYPES, *found_types}]
    return {kind: sorted(of_kind, key=lambda pair: pair[1].casefold())[:MAX_CHOICES] for kind, of_kind in found.items()}


def _read_value(kind: str, value: str) -> str:
    """Ids as people write them: SQLite keeps them without hyphens."""
    return value if kind == "benefit_type" else str(UUID(value))


def _select(kind: str, rows: QuerySet[Any], value: str, *, name: str = "name") -> QuerySet[Any, Any]:
    return rows.order_by().values_list(
        Value(kind, output_field=TextField()),
        Cast(value, TextField()),
        Cast(name, TextField()),
    )
