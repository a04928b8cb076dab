"""Customers and what they have, as CSV that is sent while it is read: any number of rows in little memory.

Made with the standard library: django-import-export holds a whole data set in memory before it answers.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ModelAdmin
from polar_sync.models import Meter, Subscription

CHUNK_ROWS = 2000
# Spreadsheets pass over the controls, and read the full-width signs as the others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CUSTOMER = (
    ("id", "pk"),
    ("organization", "organization__name"),
    ("external_id", "external_id"),
    ("email", "email"),
    ("email_verified", "email_verified"),
    ("name", "name"),
    ("type", "type"),
    ("billing_name", "billing_name"),
    ("country", "billing_country"),
    ("created_at", "created_at"),
    ("modified_at", "modified_at"),
    ("deleted_at", "deleted_at"),
    ("observed_at", "observation__state_observed_at"),
)
_SUBSCRIPTION = (
    ("id", "pk"),
    ("customer_id", "customer_id"),
    ("customer_external_id", "customer__external_id"),
    ("customer_email", "customer__email"),
    ("product_id", "product_id"),
    ("product", "product__name"),
    ("status", "status"),
    ("amount", "amount"),
    ("currency", "currency"),
    ("recurring_interval", "recurring_interval"),
    ("recurring_interval_count", "product__recurring_interval_count"),
    ("started_at", "started_at"),
    ("current_period_start", "current_period_start"),
    ("current_period_end", "current_period_end"),
    ("cancel_at_period_end", "cancel_at_period_end"),
    ("ends_at", "ends_at"),
)
_METER = (
    ("id", "pk"),
    ("customer_id", "customer_id"),
    ("customer_external_id", "customer__external_id"),
    ("customer_email", "customer__email"),
    ("meter_id", "meter_id"),
    ("meter", "meter__name"),
    ("consumed_units", "consumed_units"),
    ("credited_units", "credited_units"),
    ("balance", "balance"),
)


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of file: its name, its columns (heading and path), and its rows of some customers."""

    name: str
    label: Any
    columns: tuple[tuple[str, str], ...]
    of_customers: Callable[[QuerySet[Any]], QuerySet[Any]]


def _get_own(rows: QuerySet[Any]) -> QuerySet[Any]:
    if rows.model._meta.model_name != "customer":  # noqa: SLF001 - Django's public name for it
        return rows
    found: QuerySet[Any] = rows.annotate(billing_country=KT("billing_address__country"))
    return found


def _get_subscriptions(customers: QuerySet[Any]) -> QuerySet[Any]:
    return Subscription.objects.filter(customer__in=customers.order_by().values("pk")).order_by("customer", "pk")


def _get_meters(customers: QuerySet[Any]) -> QuerySet[Any]:
    return Meter.objects.filter(customer__in=customers.order_by().values("pk")).order_by("customer", "pk")


EXPORTS = {
    "customers": Export("customers", gettext_lazy("Customers as CSV"), _CUSTOMER, _get_own),
    "subscriptions": Export("subscriptions", gettext_lazy("Subscriptions as CSV"), _SUBSCRIPTION, _get_subscriptions),
    "meters": Export("meters", gettext_lazy("Meters as CSV"), _METER, _get_meters),
    # From lists of these themselves:
    "own_subscriptions": Export("subscriptions", gettext_lazy("Subscriptions as CSV"), _SUBSCRIPTION, _get_own),
    "own_meters": Export("meters", gettext_lazy("Meters as CSV"), _METER, _get_own),
}


class ExportAdminMixin(ModelAdmin):
    """A file of what is selected (an action), or of all that is searched and filtered for (a link)."""

    exports: tuple[str, ...] = ()

    def get_urls(self) -> list[URLPattern]:
        name = f"polar_sync_{self.opts.model_name}_export"
        return [
            path("export/<str:kind>.csv", self.admin_site.admin_view(self.export_view), name=name),
            *super().get_urls(),
        ]

    def get_export_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        """What the list offers: the same parameters, as a file."""
        if not self.has_export_permission(request):  # type: ignore[attr-defined]
            return []
        name = f"{self.admin_site.name}:polar_sync_{self.opts.model_name}_export"
        query = f"?{request.GET.urlencode()}" if request.GET else ""
        return [{"label": EXPORTS[kind].label, "url": reverse(name, args=(kind,)) + query} for kind in self.exports]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        links = self.get_export_links(request)
        return super().changelist_view(request, {**(extra_context or {}), "polar_exports": links})

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """The file of everything that the same parameters list."""
        if not (self.has_view_permission(request) and self.has_export_permission(request)):  # type: ignore[attr-defined]
            raise PermissionDenied
        if kind not in self.exports:
            raise Http404
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            # To the list, which says so; a file of everything is not what was asked for.
            url = reverse(f"{self.admin_site.name}:polar_sync_{self.opts.model_name}_changelist")
            return HttpResponseRedirect(f"{url}?{ERROR_FLAG}=1")
        return stream(EXPORTS[kind], rows)

    @admin.action(description=gettext_lazy("Export customers as CSV"), permissions=["export"])
    def export_customers(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase:
        return stream(EXPORTS["customers"], rows)

    @admin.action(description=gettext_lazy("Export subscriptions as CSV"), permissions=["export"])
    def export_subscriptions(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase:
        """The subscriptions of the selected customers."""
        return stream(EXPORTS["subscriptions"], rows)

    @admin.action(description=gettext_lazy("Export meters as CSV"), permissions=["export"])
    def export_meters(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase:
        """The meters of the selected customers."""
        return stream(EXPORTS["meters"], rows)

    @admin.action(description=gettext_lazy("Export as CSV"), permissions=["export"])
    def export_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase:
        """The selected rows themselves."""
        return stream(EXPORTS[self.exports[0]], rows)


def stream(export: Export, rows: QuerySet[Any]) -> StreamingHttpResponse:
    """An answer that reads the database as fast as it is taken."""
    found = export.of_customers(rows)
    name = f"{export.name}-{timezone.now():%Y%m%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        iterate_lines(export, found),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def iterate_lines(export: Export, rows: QuerySet[Any]) -> Iterator[bytes]:
    """The file's lines: CRLF, headings first, times in ISO 8601."""
    writer = csv.writer(_Echo())
    yield encode(writer.writerow([heading for heading, _path in export.columns]))
    found: Iterable[tuple[Any, ...]] = rows.values_list(*(path for _heading, path in export.columns)).iterator(
        CHUNK_ROWS
    )
    for row in found:
        yield encode(writer.writerow([format_cell(value) for value in row]))


def format_cell(value: Any) -> Any:
    """The cell's text; what a spreadsheet would take for a formula is marked as text by an apostrophe."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def encode(line: Any) -> bytes:
    """What the writer gave back, as bytes."""
    return str(line).encode("utf-8", "replace")


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line
