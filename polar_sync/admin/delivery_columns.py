"""What the pages show of a delivery: the same in the list of all and on a customer's page."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from polar_sync.admin.formatting import (
    NOTHING,
    clean,
    format_lag,
    format_moment,
    show,
    show_id,
    show_label,
    show_number,
    show_time,
)
from polar_sync.models import Customer, WebhookDelivery

SHOWN = 10
"""Deliveries that a customer's page shows; a link leads to the rest."""
_TONES = {"received": "info", "processed": "good", "failed": "bad"}


def select_shown(rows: QuerySet[Any], *, may_view_customers: bool) -> QuerySet[Any]:
    """With what a row shows, in one statement; `customer_name` is None of a customer who is not mirrored."""
    rows = rows.select_related("organization").defer("payload")
    if not may_view_customers:
        return rows
    texts = (NullIf(column, Value(""), output_field=TextField()) for column in ("name", "email", "external_id"))
    customers = Customer.all_objects.filter(pk=OuterRef("customer_id")).order_by()
    names = customers.values_list(Coalesce(*texts, Value(""), output_field=TextField()))
    found: QuerySet[Any] = rows.annotate(customer_name=Subquery(names))
    return found


def show_type(delivery: WebhookDelivery) -> SafeString:
    """Polar's own word, which may be broken after its dots and underscores."""
    parts = re.findall("[^._]*[._]|[^._]+", clean(delivery.type))
    return format_html("<bdi>{}</bdi>", format_html_join(SafeString("<wbr>"), "{}", ((part,) for part in parts)))


def show_status(delivery: WebhookDelivery) -> SafeString:
    """What became of it, as a label."""
    return show_label(capfirst(delivery.get_status_display()), tone=_TONES.get(delivery.status, "plain"))


def show_customer(delivery: Any, *, site_name: str) -> SafeString:
    """The customer's name as a link where that is mirrored and one may view it, else the id."""
    name = getattr(delivery, "customer_name", None)
    if delivery.customer_id is None or name is None:
        return show_id(delivery.customer_id)
    url = reverse(f"{site_name}:polar_sync_customer_change", args=(delivery.customer_id,))
    return format_html('<a href="{}">{}</a>', url, show(name or delivery.customer_id))


def show_lag(delivery: WebhookDelivery) -> SafeString:
    """How much later it was here, with when that was in the tooltip."""
    tooltip = _("received %(time)s") % {"time": format_moment(delivery.received_at)}
    text = format_lag(delivery.received_at - delivery.timestamp)
    return format_html('<bdi dir="ltr" title="{}">{}</bdi>', tooltip, text)


def describe_latest(customer: Customer, *, site_name: str) -> dict[str, Any]:
    """The newest deliveries about the customer, and where all are listed if there are more: one statement."""
    rows = WebhookDelivery.objects.filter(customer_id=customer.pk).defer("payload").order_by("-timestamp", "-pk")
    found = list(rows[: SHOWN + 1])
    url = reverse(f"{site_name}:polar_sync_webhookdelivery_changelist")
    return {
        "rows": [
            {
                "key": row.pk,
                "url": reverse(f"{site_name}:polar_sync_webhookdelivery_change", args=(row.pk,)),
                "type": show_type(row),
                "status": show_status(row),
                "reason": show(row.reason) if row.reason else "",
                "told": show_time(row.timestamp),
                "lag": show_lag(row),
                "via": show(capfirst(row.get_via_display())),
            }
            for row in found[:SHOWN]
        ],
        "all_url": f"{url}?{urlencode({'q': str(customer.pk)})}" if len(found) > SHOWN else "",
    }


class WebhookDeliveryColumns:
    """Of a delivery that `select_shown` has selected."""

    admin_site: Any

    @admin.display(description=gettext_lazy("type"))
    def type_text(self, delivery: WebhookDelivery) -> SafeString:
        """Polar's own word, with the id of the delivery below."""
        webhook_id = clean(delivery.webhook_id, length=200)
        return format_html(
            '{}<span class="polar-below"><code class="polar-id" title="{}">{}</code></span>',
            show_type(delivery),
            webhook_id,
            webhook_id,
        )

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, delivery: WebhookDelivery) -> SafeString:
        return show_customer(delivery, site_name=self.admin_site.name)

    @admin.display(description=gettext_lazy("status"))
    def status_label(self, delivery: WebhookDelivery) -> SafeString:
        """With the reason, where there is one."""
        label = show_status(delivery)
        if not delivery.reason:
            return label
        return format_html('{}<span class="polar-below">{}</span>', label, show(delivery.reason))

    @admin.display(description=gettext_lazy("Polar's time"))
    def told(self, delivery: WebhookDelivery) -> SafeString:
        """When it happened, on Polar's clock."""
        return show_time(delivery.timestamp)

    @admin.display(description=pgettext_lazy("between Polar's time and ours", "lag"))
    def lag(self, delivery: WebhookDelivery) -> SafeString:
        """How much later it was here."""
        return show_lag(delivery)

    @admin.display(description=pgettext_lazy("of a delivery: sent, or found in a list", "source"))
    def via_text(self, delivery: WebhookDelivery) -> SafeString:
        """Sent by Polar, or found in its list."""
        return show(capfirst(delivery.get_via_display()))

    @admin.display(description=gettext_lazy("attempts"))
    def attempt_count(self, delivery: WebhookDelivery) -> SafeString:
        """With when the next one is due."""
        number = show_number(delivery.attempts) if delivery.attempts else NOTHING
        if delivery.next_attempt_at is None or delivery.status != WebhookDelivery.Status.RECEIVED:
            return number
        text = format_html('{} <span class="polar-below">{}</span>', number, show_time(delivery.next_attempt_at))
        return format_html('<span title="{}">{}</span>', _("next attempt"), text)

    @admin.display(description=gettext_lazy("organization"))
    def organization_name(self, delivery: WebhookDelivery) -> SafeString:
        """As the settings name it."""
        return show(delivery.organization)
