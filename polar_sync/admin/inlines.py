"""What a customer has, as tables below it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyInline
from polar_sync.admin.intervals import format_interval
from polar_sync.admin.labels import format_number, is_below_zero, show_code, show_number, show_time
from polar_sync.admin.money import format_money
from polar_sync.admin.plots import show_meter_bar
from polar_sync.admin.text import NOTHING, show, show_id, show_name
from polar_sync.models import BenefitGrant, Meter, Subscription, SubscriptionMeter


def show_price(subscription: Subscription) -> SafeString:
    """Amount and interval, such as `20.00 USD per month`; how many months to an interval is the product's to say."""
    amount = format_money(subscription.amount, subscription.currency)
    if not subscription.recurring_interval:
        return show(amount)
    count = subscription.product.recurring_interval_count if subscription.product is not None else None
    return format_html("{} {}", show(amount), show(format_interval(subscription.recurring_interval, count)))


def show_ends(subscription: Subscription) -> SafeString:
    """When it ends, if it is known to."""
    time = subscription.ends_at or (subscription.current_period_end if subscription.cancel_at_period_end else None)
    return show_time(time)


class SubscriptionInline(ReadOnlyInline):
    """Present subscriptions, each with what it consumed in this period."""

    model = Subscription
    fields = ("product_name", "status_label", "price", "started", "renews", "ends", "consumption", "polar_id")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("product"))
    def product_name(self, subscription: Subscription) -> SafeString:
        """The product's name, its id where that is unknown."""
        return show_name(subscription.product, subscription.product_id)

    @admin.display(description=gettext_lazy("status"))
    def status_label(self, subscription: Subscription) -> SafeString:
        """As Polar says it."""
        return show_code(subscription.status)

    @admin.display(description=gettext_lazy("price"))
    def price(self, subscription: Subscription) -> SafeString:
        """What is charged, and how often."""
        return show_price(subscription)

    @admin.display(description=gettext_lazy("started"))
    def started(self, subscription: Subscription) -> SafeString:
        """When it began."""
        return show_time(subscription.started_at)

    @admin.display(description=gettext_lazy("period ends"))
    def renews(self, subscription: Subscription) -> SafeString:
        """When the present period ends."""
        return show_time(subscription.current_period_end)

    @admin.display(description=gettext_lazy("subscription ends"))
    def ends(self, subscription: Subscription) -> SafeString:
        """When it is over, if that is known."""
        return show_ends(subscription)

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


def show_consumption(consumed: float | None, credited: float | None) -> SafeString:
    """A bar and the two numbers, such as `12.5 of 10`; a dash where nothing was consumed of nothing."""
    if not consumed and not credited:
        return NOTHING
    numbers = {"consumed": format_number(consumed), "credited": format_number(credited)}
    text = _("%(consumed)s of %(credited)s") % numbers
    bar = show_meter_bar(consumed, credited)
    return format_html('{} <bdi class="polar-quiet">{}</bdi>', bar, text)


class BenefitGrantInline(ReadOnlyInline):
    """Granted benefits."""

    model = BenefitGrant
    fields = ("benefit_name", "type_label", "granted", "polar_id")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("benefit"))
    def benefit_name(self, grant: BenefitGrant) -> SafeString:
        """The benefit's name, its id where that is unknown."""
        return show_name(grant.benefit, grant.benefit_id)

    @admin.display(description=gettext_lazy("type"))
    def type_label(self, grant: BenefitGrant) -> SafeString:
        """As Polar says it."""
        return show_code(grant.benefit_type)

    @admin.display(description=gettext_lazy("granted"))
    def granted(self, grant: BenefitGrant) -> SafeString:
        """Since when."""
        return show_time(grant.granted_at)

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, grant: BenefitGrant) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(grant.pk)


class MeterInline(ReadOnlyInline):
    """Balances."""

    model = Meter
    fields = ("meter_name", "consumed", "credited", "balance_label", "bar", "changed")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("meter"))
    def meter_name(self, meter: Meter) -> SafeString:
        """The meter's name, its id where that is unknown."""
        return show_name(meter.meter, meter.meter_id)

    @admin.display(description=gettext_lazy("consumed"))
    def consumed(self, meter: Meter) -> SafeString:
        """Units."""
        return show_number(meter.consumed_units)

    @admin.display(description=gettext_lazy("credited"))
    def credited(self, meter: Meter) -> SafeString:
        """Units."""
        return show_number(meter.credited_units)

    @admin.display(description=gettext_lazy("balance"))
    def balance_label(self, meter: Meter) -> SafeString:
        """Units, marked where they are below zero."""
        return show_balance(meter)

    @admin.display(description=gettext_lazy("consumption"))
    def bar(self, meter: Meter) -> SafeString:
        """The same, to be seen at once."""
        return show_meter_bar(meter.consumed_units, meter.credited_units)

    @admin.display(description=gettext_lazy("changed on Polar"))
    def changed(self, meter: Meter) -> SafeString:
        """When Polar last changed it."""
        return show_time(meter.modified_at or meter.created_at)


def show_balance(meter: Meter) -> SafeString:
    """A balance, marked where it is below zero."""
    return show_number(meter.balance, tone="bad" if is_below_zero(meter.balance) else None)
