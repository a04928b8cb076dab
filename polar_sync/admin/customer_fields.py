"""The fields of a customer's page."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from polar_sync.admin.display_names import get_display_name
from polar_sync.admin.labels import show_time
from polar_sync.admin.text import NOTHING, escape_json, show, show_id
from polar_sync.models import Customer

MAX_METADATA = 5000


class CustomerFields:
    """Everything that is mirrored of the customer itself."""

    @admin.display(description=gettext_lazy("name"))
    def name_text(self, customer: Customer) -> SafeString:
        """Whole."""
        return show(customer.name, length=512)

    @admin.display(description=gettext_lazy("billing name"))
    def billing_name_text(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(customer.billing_name, length=1000)

    @admin.display(description=gettext_lazy("type"))
    def type_whole(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(get_display_name(customer.type) if customer.type else None, length=1000)

    @admin.display(description=gettext_lazy("locale"))
    def locale_text(self, customer: Customer) -> SafeString:
        """Whole, up to a page."""
        return show(customer.locale, length=1000)

    @admin.display(description=gettext_lazy("billing address"))
    def address(self, customer: Customer) -> SafeString:
        """Its lines, in Polar's order."""
        parts = customer.billing_address
        if not isinstance(parts, dict):
            return show(parts)
        return (
            format_html_join("", "<div>{}</div>", ((show(part, length=200),) for part in parts.values() if part))
            or NOTHING
        )

    @admin.display(description=gettext_lazy("tax id"))
    def tax(self, customer: Customer) -> SafeString:
        """Number and format."""
        given = customer.tax_id
        return show(" ".join(map(str, given)) if isinstance(given, list) else given, length=200)

    @admin.display(description=gettext_lazy("metadata"))
    def metadata_text(self, customer: Customer) -> SafeString:
        """As JSON."""
        text = json.dumps(customer.metadata, ensure_ascii=False, indent=1) if customer.metadata else ""
        return format_html('<pre class="polar-json">{}</pre>', escape_json(text)[:MAX_METADATA]) if text else NOTHING

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, customer: Customer) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(customer.pk)

    @admin.display(description=gettext_lazy("created"))
    def created_time(self, customer: Customer) -> SafeString:
        """On Polar."""
        return show_time(customer.created_at)

    @admin.display(description=gettext_lazy("modified"))
    def modified_time(self, customer: Customer) -> SafeString:
        """On Polar: when the customer itself was last edited."""
        return show_time(customer.modified_at)

    @admin.display(description=gettext_lazy("first event"))
    def first_event_time(self, customer: Customer) -> SafeString:
        """When the customer's first event reached Polar."""
        return show_time(customer.first_user_event_at)

    @admin.display(description=gettext_lazy("default payment method"))
    def payment_method(self, customer: Customer) -> SafeString:
        """Its id on Polar."""
        return show_id(customer.default_payment_method_id)
