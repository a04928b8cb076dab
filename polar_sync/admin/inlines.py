"""What a customer has, as tables below it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyInline
from polar_sync.admin.columns import BenefitGrantColumns, MeterColumns, SubscriptionColumns, show_consumption
from polar_sync.admin.formatting import NOTHING, format_money, show, show_id, show_name, show_time
from polar_sync.models import BenefitGrant, Meter, Subscription, SubscriptionMeter


class SubscriptionInline(SubscriptionColumns, ReadOnlyInline):
    """Present subscriptions, each with what it consumed in this period."""

    model = Subscription
    fields = ("product_name", "status_label", "price", "started", "period_end", "ends", "consumption", "polar_id")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("started"))
    def started(self, subscription: Subscription) -> SafeString:
        return show_time(subscription.started_at)

    @admin.display(description=gettext_lazy("consumption"))
    def consumption(self, subscription: Subscription) -> SafeString:
        """A line for each meter of the subscription."""
        lines = ((_show_line(meter, subscription.currency),) for meter in subscription.meters.all())
        return format_html_join("", "<div>{}</div>", lines) or NOTHING

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, subscription: Subscription) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(subscription.pk)


def _show_line(meter: SubscriptionMeter, currency: str | None) -> SafeString:
    return format_html(
        "{}: {} {}",
        show_name(meter.meter, meter.meter_id),
        show_consumption(meter.consumed_units, meter.credited_units),
        show(format_money(meter.amount, currency)) if meter.amount else "",
    )


class BenefitGrantInline(BenefitGrantColumns, ReadOnlyInline):
    """Granted benefits."""

    model = BenefitGrant
    fields = ("benefit_name", "type_label", "granted", "polar_id")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, grant: BenefitGrant) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(grant.pk)


class MeterInline(MeterColumns, ReadOnlyInline):
    """Balances."""

    model = Meter
    fields = ("meter_name", "consumed", "credited", "balance_label", "bar", "changed")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("changed on Polar"))
    def changed(self, meter: Meter) -> SafeString:
        """When Polar last changed it."""
        return show_time(meter.modified_at or meter.created_at)
