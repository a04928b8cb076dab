"""Webhook deliveries: what Polar reported, what became of it, and having one processed again."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.db import router, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from polar_sync.admin.actions import MAX_SELECTED, action_view, enqueue, note, redirect, tell_misconfigured
from polar_sync.admin.base import PROCESS_PERMISSION, ReadOnlyAdmin, may_view
from polar_sync.admin.delivery_columns import WebhookDeliveryColumns, select_shown, show_customer, show_status
from polar_sync.admin.display_names import EVENT_TYPES
from polar_sync.admin.filters import Filter, OrganizationFilter, Rows, get_choices
from polar_sync.admin.formatting import (
    PAGE_LENGTH,
    clean,
    escape_json,
    format_lag,
    format_number,
    show,
    show_id,
    show_time,
)
from polar_sync.admin.search import search_deliveries
from polar_sync.conf import settings
from polar_sync.exceptions import ConfigurationError
from polar_sync.models import WebhookDelivery
from polar_sync.sync import deliveries as sync_deliveries
from polar_sync.tasks import process_deliveries

MAX_JSON = 200_000
"""Characters of a payload that the page shows."""
# Such as the client secret of a checkout: whoever has it acts for the customer.
_SECRET = re.compile("(?:secret|token|password)$", re.IGNORECASE)
_HIDDEN = "…"
_HAS_PAYLOAD = Q(scrubbed_at=None) & ~Q(payload="")
_Status = WebhookDelivery.Status


class DeliveryStatusFilter(Filter):
    """By what became of it."""

    title = gettext_lazy("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, capfirst(str(label))) for value, label in _Status.choices]


class EventTypeFilter(Filter):
    """By Polar's type; one that is new on Polar is among the others."""

    title = gettext_lazy("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Polar's own words, as its dashboard has them too."""
        return [*((one, one) for one in EVENT_TYPES), ("other", _("Other"))]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        if self.value() == "other":
            return queryset.exclude(type__in=EVENT_TYPES)
        return super().queryset(request, queryset)


class ViaFilter(Filter):
    """By whether Polar sent it, or it was found in Polar's list."""

    title = pgettext_lazy("of a delivery: sent, or found in a list", "source")
    parameter_name = "via"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, capfirst(str(label))) for value, label in WebhookDelivery.Via.choices]


class DeliveryOrganizationFilter(OrganizationFilter):
    """By the organization whose endpoint it was sent to."""

    field = "organization__polar_id"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(WebhookDeliveryColumns, ReadOnlyAdmin):
    """The list of deliveries, newest first, and each with what Polar said."""

    list_display = ("type_text", "customer", "status_label", "told", "lag", "via_text", "attempt_count")
    list_filter = (DeliveryStatusFilter, ViaFilter, DeliveryOrganizationFilter, EventTypeFilter)
    list_per_page = 50
    ordering = ("-id",)
    search_fields = ("webhook_id",)
    search_help_text = gettext_lazy(
        "Webhook id, or any id of Polar's: of a customer, a subscription, a benefit, a meter, a product."
    )
    actions = ("process_selected",)
    fields = ()
    change_form_template = "admin/polar_sync/webhookdelivery/change_form.html"

    def has_process_permission(self, request: HttpRequest) -> bool:
        """Whether this person may have deliveries processed again."""
        return bool(request.user.has_perm(PROCESS_PERMISSION))

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """The organization only where there are several."""
        is_one = len(get_choices(request).get("organization", [])) <= 1
        return self.list_display if is_one else (*self.list_display, "organization_name")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        may = may_view(request.user, "customer")
        changelist.result_list = select_shown(changelist.result_list, may_view_customers=may)
        return changelist

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By the delivery's own id, or any of Polar's."""
        return search_deliveries(queryset, search_term), False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.process_view)
        return [path("<int:pk>/process/", view, name="polar_sync_webhookdelivery_process"), *super().get_urls()]

    def get_title(self, original: Any) -> str:
        return f"{clean(original.type)} {clean(original.webhook_id)}"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """What is known of it, the payload for who may view customers, and the button."""
        delivery: WebhookDelivery = context["original"]
        may = may_view(request.user, "customer")
        text = format_payload(delivery.payload) if may else ""
        process_url = reverse(f"{self.admin_site.name}:polar_sync_webhookdelivery_process", args=(delivery.pk,))
        context |= {
            "polar_delivery": self._describe(delivery, may_view_customers=may),
            "polar_payload": text[:MAX_JSON],
            "polar_payload_is_cut": len(text) > MAX_JSON,
            "polar_payload_note": _explain_payload(delivery, may_view_customers=may),
            "polar_may_process": self.has_process_permission(request) and _has_payload(delivery),
            "polar_process_url": process_url,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def _describe(self, delivery: WebhookDelivery, *, may_view_customers: bool) -> dict[str, Any]:
        named = select_shown(WebhookDelivery.objects.filter(pk=delivery.pk), may_view_customers=may_view_customers)
        row = named.first() or delivery
        is_waiting = delivery.status == _Status.RECEIVED
        return {
            "status": show_status(delivery),
            "meaning": _explain(delivery),
            "reason": show(delivery.reason, length=PAGE_LENGTH) if delivery.reason else "",
            "type": show(delivery.type, length=200),
            "webhook_id": show(delivery.webhook_id, length=200),
            "customer": show_customer(row, site_name=self.admin_site.name),
            "customer_id": show_id(delivery.customer_id),
            "organization": show(row.organization),
            "told": show_time(delivery.timestamp),
            "received": show_time(delivery.received_at),
            "lag": format_lag(delivery.received_at - delivery.timestamp),
            "via": self.via_text(delivery),
            "attempts": format_number(delivery.attempts),
            "next_attempt": show_time(delivery.next_attempt_at) if is_waiting and delivery.next_attempt_at else "",
            "processed": show_time(delivery.processed_at),
            "scrubbed": show_time(delivery.scrubbed_at) if delivery.scrubbed_at else "",
        }

    @action_view(PROCESS_PERMISSION)
    def process_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have one delivery processed again."""
        chosen = WebhookDelivery.objects.filter(pk=pk)
        if not chosen.exists():
            raise Http404
        process_again(request, chosen)
        return redirect(reverse(f"{self.admin_site.name}:polar_sync_webhookdelivery_change", args=(pk,)))

    @admin.action(description=gettext_lazy("Process again"), permissions=["process"])
    def process_selected(self, request: HttpRequest, deliveries: QuerySet[Any]) -> None:
        """Have the selected deliveries processed again."""
        process_again(request, deliveries)


def process_again(request: HttpRequest, deliveries: QuerySet[Any]) -> None:
    """Let them wait once more, and tell a worker of each organization; those without their payload are left out."""
    flagged = deliveries.annotate(has_payload=ExpressionWrapper(_HAS_PAYLOAD, output_field=BooleanField()))
    rows = list(flagged.values_list("pk", "organization__name", "has_payload")[: MAX_SELECTED + 1])
    if len(rows) > MAX_SELECTED:
        text = _("More than %(number)s deliveries are selected. Choose fewer, by a filter or page by page.")
        messages.warning(request, text % {"number": format_number(MAX_SELECTED)})
        return
    numbers = Counter(name for _pk, name, has_payload in rows if has_payload)
    try:
        for name in numbers:
            settings.get_organization(name)
    except ConfigurationError as error:
        tell_misconfigured(request, error)
        return
    _tell_left_out(request, len(rows) - numbers.total())
    if not numbers:
        return
    with transaction.atomic(using=router.db_for_write(WebhookDelivery)):
        keys = [pk for pk, _name, has_payload in rows if has_payload]
        chosen = WebhookDelivery.objects.filter(pk__in=keys)
        sync_deliveries.process_again(chosen)
        note(request, chosen.defer("payload"), "Process again")
        for name, number in numbers.items():
            text = ngettext(
                "A worker processes %(number)s delivery of %(organization)s again. Reload the page to see it.",
                "A worker processes %(number)s deliveries of %(organization)s again. Reload the page to see them.",
                number,
            )
            message = text % {"number": format_number(number), "organization": clean(name)}
            enqueue(request, process_deliveries, name, message=message)


def _tell_left_out(request: HttpRequest, number: int) -> None:
    if number:
        text = ngettext(
            "%(number)s delivery was left out: its payload is not kept any more.",
            "%(number)s deliveries were left out: their payloads are not kept any more.",
            number,
        )
        messages.warning(request, text % {"number": format_number(number)})


def _has_payload(delivery: WebhookDelivery) -> bool:
    return bool(delivery.payload) and delivery.scrubbed_at is None


def _explain(delivery: WebhookDelivery) -> str:
    """What the status means; the reason says why it is so."""
    meanings = {
        _Status.RECEIVED.value: _("It waits to be processed."),
        _Status.PROCESSED.value: _("What it tells is in the mirror, or Polar is asked about it."),
        _Status.IGNORED.value: _("Nothing in the mirror follows from it."),
        _Status.STALE.value: _("The mirror held something at least as new already."),
        _Status.FAILED.value: _("It could not be processed, and is not tried again by itself."),
    }
    return meanings.get(delivery.status, "")


def _explain_payload(delivery: WebhookDelivery, *, may_view_customers: bool) -> str:
    """Why there is no payload to see."""
    if delivery.scrubbed_at is not None:
        return _("The payload was scrubbed: what tells of a person is removed after the deletion of a customer.")
    if not delivery.payload:
        return _("The payload is not kept.")
    if not may_view_customers:
        return _("The payload tells of a customer: it is shown to who may view customers.")
    return ""


def format_payload(payload: str) -> str:
    """The payload as JSON to be read by people, without what is secret in it; empty where it is no JSON."""
    try:
        found = json.loads(payload, object_pairs_hook=_hide_secrets)
        text = json.dumps(found, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return ""
    return escape_json(text)


def _hide_secrets(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: _HIDDEN if value and _SECRET.search(key) else value for key, value in pairs}
