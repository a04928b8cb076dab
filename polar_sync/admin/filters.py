"""The filters of the lists. None of them counts, and each filters by an index or by what a page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Left
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.display_names import (
    BENEFIT_TYPES,
    CUSTOMER_TYPES,
    SUBSCRIPTION_STATUSES,
    get_display_name,
    list_choices,
)
from polar_sync.admin.formatting import STALE_AFTER, clean
from polar_sync.models import Benefit, BenefitGrant, CustomerObservation, Organization, Product, Subscription

MAX_CHOICES = 200
_KEPT = "_polar_sync_choices"
Rows: TypeAlias = QuerySet[Any]


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


class Filter(admin.SimpleListFilter):
    """A filter by one parameter; a value that it does not offer filters for it nevertheless."""

    def value(self) -> str | None:
        """The text asked for, without what PostgreSQL refuses to hear."""
        value = super().value()
        return None if value is None else str(value).replace("\0", "")

    names: ClassVar[Mapping[str, str | Promise]] = {}
    """What is offered: values of the column that the parameter is called after, with what people call them."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Value and name of each choice."""
        return list_choices(self.names)

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """The rows that hold the value."""
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def has_output(self) -> bool:
        """Whether the filter is shown: also where there is but one choice, as it tells what is there."""
        return bool(self.lookup_choices)


class UuidFilter(Filter):
    """A filter whose values are ids."""

    def read_id(self) -> UUID | None:
        """The id that is asked for; None for what is no id."""
        try:
            return UUID(self.value() or "")
        except ValueError:
            return None


class OrganizationFilter(UuidFilter):
    """By the organization that Polar names."""

    title = gettext_lazy("organization")
    parameter_name = "organization"
    field = "organization"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The organizations that are mirrored."""
        return get_choices(request).get("organization", [])

    def has_output(self) -> bool:
        """Where there are several, or one is asked for."""
        return len(self.lookup_choices) > 1 or bool(self.value())

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset.filter(**{self.field: self.read_id()}) if self.value() else queryset


class TypeFilter(Filter):
    """By the customer's type; a type that is new on Polar is among the others."""

    title = gettext_lazy("type")
    parameter_name = "type"
    names = CUSTOMER_TYPES

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Polar's types of today, and the rest."""
        return [*super().lookups(request, model_admin), ("other", _("Other"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() == "other":
            return queryset.exclude(type__in=list(self.names))
        return super().queryset(request, queryset)


class ActiveFilter(Filter):
    """By whether there is an active or trialing subscription."""

    title = gettext_lazy("active")
    parameter_name = "active"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those with, or those without."""
        present = Exists(Subscription.objects.filter(customer=OuterRef("pk")).present())
        if self.value() == "yes":
            return queryset.filter(present)
        return queryset.filter(~present) if self.value() == "no" else queryset


class StatusFilter(Filter):
    """By the status of a subscription that the customer has."""

    title = gettext_lazy("subscription status")
    parameter_name = "status"
    names = SUBSCRIPTION_STATUSES

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those with such a subscription, each once."""
        if not self.value():
            return queryset
        return queryset.filter(Exists(Subscription.objects.filter(customer=OuterRef("pk"), status=self.value())))


class ProductFilter(UuidFilter):
    """By a product that the customer subscribes to."""

    title = gettext_lazy("product")
    parameter_name = "product"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Products whose names are known."""
        return get_choices(request).get("product", [])

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those with a subscription to it, each once."""
        if not self.value():
            return queryset
        return queryset.filter(Exists(Subscription.objects.filter(customer=OuterRef("pk"), product=self.read_id())))


class BenefitTypeFilter(Filter):
    """By the type of a benefit that the customer has been granted."""

    title = gettext_lazy("benefit type")
    parameter_name = "benefit_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Polar's types of today, and those of the catalogue."""
        return get_choices(request).get("benefit_type", [])

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those with such a grant, each once."""
        if not self.value():
            return queryset
        return queryset.filter(Exists(BenefitGrant.objects.filter(customer=OuterRef("pk"), benefit_type=self.value())))


class DeletedFilter(Filter):
    """By whether the customer still is on Polar."""

    title = gettext_lazy("deleted on Polar")
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("No")), ("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """The living, or the deleted."""
        if self.value() in {"yes", "no"}:
            return queryset.filter(deleted_at__isnull=self.value() == "no")
        return queryset


class StaleFilter(Filter):
    """By how long ago Polar was last heard of the customer's state. The deleted are not stale: they are done."""

    title = gettext_lazy("observed")
    parameter_name = "observed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("fresh", _("In the last day")), ("stale", _("Longer ago, or never"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """Those observed since a day ago, or not."""
        limit = timezone.now() - STALE_AFTER
        if self.value() == "fresh":
            return queryset.filter(observation__state_observed_at__gte=limit)
        if self.value() == "stale":
            # By the narrow rows, which are read faster than customers where few or none are found.
            unseen = Q(state_observed_at__lt=limit) | Q(state_observed_at=None)
            stale = CustomerObservation.objects.filter(unseen).values("customer")
            return queryset.filter(pk__in=stale, deleted_at=None)
        return queryset


class CountryFilter(Filter):
    """By the country of the billing address: two letters that are typed, as nobody wants a list of 250."""

    title = gettext_lazy("country")
    parameter_name = "country"
    template = "admin/polar_sync/text_filter.html"

    def has_output(self) -> bool:
        """Always: there is a field to type in."""
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One: the text typed, and the other parameters that its form must keep."""
        kept = [(name, value) for name, value in changelist.params.items() if name != self.parameter_name]
        yield {
            "value": clean(self.value() or ""),
            "kept": kept,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "selected": bool(self.value()),
            "display": _("All"),
        }

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        """With a billing address there."""
        if not self.value():
            return queryset
        country = (self.value() or "").strip().upper()
        # The same expression as the index on it.
        indexed = Left(KT("billing_address__country"), 8)
        found: Rows = queryset.alias(billing_country=indexed).filter(billing_country=country)
        return found
