"""The columns of the list of customers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.labels import show_label, show_observed, show_time
from polar_sync.admin.text import NOTHING, show, show_name
from polar_sync.models import Customer

SHOWN_PRODUCTS = 4


class CustomerColumns:
    """What a row shows. The list has prefetched subscriptions with products, and annotated `grant_count`."""

    @admin.display(description=gettext_lazy("customer"), ordering="name")
    def label(self, customer: Customer) -> SafeString:
        """The name, or what else tells who it is."""
        text = show(str(customer))
        return text if customer.deleted_at is None else format_html("{} {}", text, show_label(_("deleted"), tone="bad"))

    @admin.display(description=gettext_lazy("email"), ordering="email")
    def email_mark(self, customer: Customer) -> SafeString:
        """The address, marked where Polar has verified it."""
        if not customer.email_verified or not customer.email:
            return show(customer.email)
        return format_html(
            '{} <span class="polar-verified" title="{}">✓<span class="polar-hidden">{}</span></span>',
            show(customer.email),
            _("verified"),
            _("verified"),
        )

    @admin.display(description=gettext_lazy("external id"), ordering="external_id")
    def external(self, customer: Customer) -> SafeString:
        """Your own id."""
        return show(customer.external_id, length=40)

    @admin.display(description=gettext_lazy("type"))
    def type_text(self, customer: Customer) -> SafeString:
        """Individual, team, or what Polar adds."""
        return show(customer.type, length=20)

    @admin.display(description=gettext_lazy("organization"))
    def organization_name(self, customer: Customer) -> SafeString:
        """As the settings name it."""
        return show(customer.organization)

    @admin.display(description=gettext_lazy("subscriptions"))
    def products(self, customer: Customer) -> SafeString:
        """The names of products with the status of each subscription."""
        subscriptions = list(customer.subscriptions.all())
        lines = format_html_join(
            "",
            '<div class="polar-line">{} {}</div>',
            (
                (show_name(one.product, one.product_id, length=40), show_label(one.status or "–"))
                for one in subscriptions[:SHOWN_PRODUCTS]
            ),
        )
        hidden = len(subscriptions) - SHOWN_PRODUCTS
        if hidden > 0:
            return format_html("{}<div>{}</div>", lines, _("and %(number)s more") % {"number": hidden})
        return lines or NOTHING

    @admin.display(description=gettext_lazy("benefits"))
    def grants(self, customer: Any) -> int:
        """How many are granted."""
        return int(customer.grant_count)

    @admin.display(description=gettext_lazy("observed"))
    def observed(self, customer: Customer) -> SafeString:
        """How old what we show is."""
        if customer.deleted_at is not None:
            return show_time(customer.deleted_at)
        return show_observed(getattr(getattr(customer, "observation", None), "state_observed_at", None))

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def created(self, customer: Customer) -> SafeString:
        """When the customer came to Polar."""
        return show_time(customer.created_at)
