"""A customer's present subscriptions, and what they have consumed."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from polar_sync.models.base import PolarModel, sort_by_age


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    """Questions that are asked of subscriptions."""

    def present(self) -> Self:
        """Active and trialing ones, which are what a state holds."""
        return self.filter(status__in=("active", "trialing"))


class Subscription(PolarModel):
    """A subscription in a customer's state: active or trialing. One that ends leaves the table.

    Where states come from Polar's lists, past due ones are here too, with `is_in_state` false.
    Amounts are in the currency's smallest unit.
    """

    customer = models.ForeignKey(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        related_name="subscriptions",
    )
    status = models.TextField(_("status"), null=True)
    is_in_state = models.BooleanField(
        _("in the state"), default=True, help_text=_("Past due subscriptions are mirrored beside the state.")
    )
    amount = models.BigIntegerField(_("amount"), null=True)
    currency = models.TextField(_("currency"), null=True)
    recurring_interval = models.TextField(_("recurring interval"), null=True)
    current_period_start = models.DateTimeField(_("current period start"), null=True)
    current_period_end = models.DateTimeField(_("current period end"), null=True)
    trial_start = models.DateTimeField(_("trial start"), null=True)
    trial_end = models.DateTimeField(_("trial end"), null=True)
    cancel_at_period_end = models.BooleanField(_("cancel at period end"), null=True)
    canceled_at = models.DateTimeField(_("canceled at"), null=True)
    started_at = models.DateTimeField(_("started at"), null=True)
    ends_at = models.DateTimeField(_("ends at"), null=True)
    product = models.ForeignKey(
        "polar_sync.Product",
        verbose_name=_("product"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,  # Polar may name one that it has not shown us
        db_index=False,
        null=True,
        related_name="subscriptions",
    )
    discount_id = models.UUIDField(_("discount id"), null=True)
    price_id = models.UUIDField(_("price id"), null=True)
    seats = models.BigIntegerField(_("seats"), null=True)
    units = models.BigIntegerField(_("units"), null=True)
    metadata = models.JSONField(_("metadata"), null=True)
    custom_field_data = models.JSONField(_("custom field data"), null=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        indexes = (
            models.Index(fields=("status", "customer"), name="polar_subscription_status"),
            models.Index(fields=("product", "status"), name="polar_subscription_product"),
            models.Index(fields=("current_period_end", "id"), name="polar_subscription_period_end"),
            models.Index(fields=("created_at", "id"), name="polar_subscription_created"),
            models.Index(fields=("price_id",), name="polar_subscription_price"),
            models.Index(
                fields=("discount_id",),
                name="polar_subscription_discount",
                condition=models.Q(discount_id__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.status} {self.product_id}"

    def to_polar(self) -> dict[str, Any]:
        """The subscription as a state holds it, its meters included."""
        data = super().to_polar()
        if isinstance(data.get("meters"), list):
            data["meters"] = [meter.to_polar() for meter in sort_by_age(self.meters.all())]
        return data


class SubscriptionMeter(PolarModel):
    """What a subscription has consumed of a meter in its present billing period."""

    subscription = models.ForeignKey(
        Subscription,
        verbose_name=_("subscription"),
        on_delete=models.CASCADE,
        related_name="meters",
    )
    meter = models.ForeignKey(
        "polar_sync.MeterDefinition",
        verbose_name=_("meter"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,  # Polar may name one that it has not shown us
        db_index=True,
        null=True,
        related_name="subscription_meters",
    )
    consumed_units = models.FloatField(_("consumed units"), null=True)
    credited_units = models.FloatField(_("credited units"), null=True)
    amount = models.BigIntegerField(_("amount"), null=True)

    class Meta:
        verbose_name = _("subscription meter")
        verbose_name_plural = _("subscription meters")

    def __str__(self) -> str:
        return f"{self.meter_id}: {self.consumed_units}"
