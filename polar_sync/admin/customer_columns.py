"""The columns of the list of customers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.labels import format_number, show_code, show_number, show_observed, show_time
from polar_sync.admin.text import NOTHING, clean, show, show_name
from polar_sync.models import Customer

SHOWN_PRODUCTS = 4


class CustomerColumns:
    """What a row shows. The list has prefetched subscriptions with products, and annotated `grant_count`."""

    @admin.display(description=gettext_lazy("customer"), ordering="name")
    def label(self, customer: Customer) -> SafeString:
        """The name, or what else tells who it is, and the address below it."""
        marks = [show(str(customer))]
        if customer.type not in {None, "individual"}:
            marks.append(show_code(customer.type))
        if customer.deleted_at is not None:
            marks.append(show_code("deleted"))
        line = format_html_join(" ", "{}", ((mark,) for mark in marks))
        if not customer.email:
            return line
        address = self.email_mark(customer)
        return format_html(
            '{}<span class="polar-below polar-pair" title="{}">{}</span>', line, clean(customer.email), address
        )

    @admin.display(description=gettext_lazy("email"))
    def email_mark(self, customer: Customer) -> SafeString:
        """The address, marked where Polar has verified it."""
        if not customer.email_verified or not customer.email:
            return show(customer.email)
        return format_html(
            '{0} <span class="polar-verified" title="{1}">✓<span class="polar-hidden">{1}</span></span>',
            show(customer.email),
            _("verified"),
        )

    @admin.display(description=gettext_lazy("external id"), ordering="external_id")
    def external(self, customer: Customer) -> SafeString:
        """Your own id."""
        return show(customer.external_id, length=20)

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
                (show_name(one.product, one.product_id, length=40), show_code(one.status))
                for one in subscriptions[:SHOWN_PRODUCTS]
            ),
        )
        hidden = len(subscriptions) - SHOWN_PRODUCTS
        if hidden > 0:
            return format_html("{}<div>{}</div>", lines, _("and %(number)s more") % {"number": format_number(hidden)})
        return lines or NOTHING

    @admin.display(description=gettext_lazy("benefits"))
    def grants(self, customer: Any) -> SafeString:
        """How many are granted."""
        return show_number(customer.grant_count or None)

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
