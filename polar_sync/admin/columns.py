"""Columns of what a customer has: the same in the lists of all customers and in the tables below one."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.formatting import (
    NOTHING,
    format_interval,
    format_money,
    format_number,
    is_below_zero,
    show,
    show_code,
    show_name,
    show_number,
    show_time,
)
from polar_sync.admin.plots import show_meter_bar
from polar_sync.models import BenefitGrant, Meter, Subscription


def show_price(subscription: Subscription) -> SafeString:
    """Amount and interval, such as `20.00 USD per month`; how many months to an interval is the product's to say."""
    amount = format_money(subscription.amount, subscription.currency)
    if not subscription.recurring_interval:
        return show(amount)
    count = subscription.product.recurring_interval_count if subscription.product is not None else None
    # One text to the browser, so that both parts keep their order where the page runs from right to left.
    return show(f"{amount} {format_interval(subscription.recurring_interval, count)}")


def show_ends(subscription: Subscription) -> SafeString:
    """When it ends, if it is known to."""
    time = subscription.ends_at or (subscription.current_period_end if subscription.cancel_at_period_end else None)
    return show_time(time)


def show_consumption(consumed: float | None, credited: float | None) -> SafeString:
    """A bar and the two numbers, such as `12.5 of 10`; a dash where nothing was consumed of nothing."""
    if not consumed and not credited:
        return NOTHING
    numbers = {"consumed": format_number(consumed), "credited": format_number(credited)}
    text = _("%(consumed)s of %(credited)s") % numbers
    bar = show_meter_bar(consumed, credited)
    return format_html('{} <bdi class="polar-quiet">{}</bdi>', bar, text)


def show_balance(meter: Meter) -> SafeString:
    """A balance, marked where it is below zero."""
    return show_number(meter.balance, tone="bad" if is_below_zero(meter.balance) else None)


class SubscriptionColumns:
    """Of a subscription."""

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

    @admin.display(description=gettext_lazy("period ends"), ordering="current_period_end")
    def period_end(self, subscription: Subscription) -> SafeString:
        """When the present period ends."""
        return show_time(subscription.current_period_end)

    @admin.display(description=gettext_lazy("subscription ends"))
    def ends(self, subscription: Subscription) -> SafeString:
        """When it is over, if that is known."""
        return show_ends(subscription)


class BenefitGrantColumns:
    """Of a granted benefit."""

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
        return show_time(grant.granted_at)


class MeterColumns:
    """Of a customer's balance on a meter."""

    @admin.display(description=gettext_lazy("meter"))
    def meter_name(self, meter: Meter) -> SafeString:
        """The meter's name, its id where that is unknown."""
        return show_name(meter.meter, meter.meter_id)

    @admin.display(description=gettext_lazy("consumed"))
    def consumed(self, meter: Meter) -> SafeString:
        return show_number(meter.consumed_units)

    @admin.display(description=gettext_lazy("credited"))
    def credited(self, meter: Meter) -> SafeString:
        return show_number(meter.credited_units)

    @admin.display(description=gettext_lazy("balance"), ordering="balance")
    def balance_label(self, meter: Meter) -> SafeString:
        """Units, marked where they are below zero."""
        return show_balance(meter)

    @admin.display(description=gettext_lazy("consumption"))
    def bar(self, meter: Meter) -> SafeString:
        """The same, to be seen at once."""
        return show_meter_bar(meter.consumed_units, meter.credited_units)
