"""What an open page asks for every second: whether anything that it shows has changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from polar_sync.admin.base import ModelAdmin
from polar_sync.models import Customer

LOOKED_AT = 100
"""Customers who changed last. Not one: a change that is committed after a later one does not move the newest time."""


class ChangesMixin(ModelAdmin):
    """The list of customers and a customer's page, which follow the mirror while they are open."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("changes.json", wrap(self.list_changes_view), name="polar_sync_customer_list_changes"),
            path("<uuid:pk>/changes.json", wrap(self.changes_view), name="polar_sync_customer_changes"),
            *super().get_urls(),
        ]

    def get_changes_context(self, pk: Any = None) -> dict[str, Any]:
        """What the page's script needs to know, without a statement."""
        name = f"{self.admin_site.name}:polar_sync_customer_"
        url = reverse(f"{name}changes", args=(pk,)) if pk is not None else reverse(f"{name}list_changes")
        return {"polar_changes_url": url, "polar_changes_since": _count_milliseconds(timezone.now())}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), **self.get_changes_context()})

    def list_changes_view(self, request: HttpRequest) -> HttpResponse:
        """Of any customer: one statement, read off an index."""
        if not self.has_view_permission(request):
            raise Http404
        changed = Customer.all_objects.filter(synced_at__isnull=False).order_by("-synced_at", "-pk")
        rows = list(changed.values_list("synced_at", "pk")[:LOOKED_AT])
        return _answer(request, rows, newest=rows[0][0] if rows else None)

    def changes_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Of one customer, and of when Polar was last asked: one statement."""
        if not self.has_view_permission(request):
            raise Http404
        rows = Customer.all_objects.filter(pk=pk).order_by().values_list("synced_at", "observation__answered_at")
        times = rows.first()
        if times is None:
            raise Http404
        return _answer(request, times, newest=max((time for time in times if time is not None), default=None))


def _answer(request: HttpRequest, seen: Iterable[Any], *, newest: datetime | None) -> HttpResponse:
    version = blake2b(str(list(seen)).encode(), digest_size=12).hexdigest()
    etag = quote_etag(version)
    answer = JsonResponse({"version": version, "newest": _count_milliseconds(newest) if newest else None})
    answer["ETag"] = etag
    return get_conditional_response(request, etag=etag, response=answer) or answer


def _count_milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
