"""A customer's balance on a meter."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from polar_sync.models.base import PolarModel


class Meter(PolarModel):
    """A customer's consumed and credited units and balance on one meter; the balance may be negative.

    `id` is that of the customer's meter, `meter_id` that of the meter that the organization defined.
    """

    customer = models.ForeignKey(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        related_name="meters",
    )
    meter = models.ForeignKey(
        "polar_sync.MeterDefinition",
        verbose_name=_("meter"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,  # Polar may name one that it has not shown us
        db_index=False,
        null=True,
        related_name="customer_meters",
    )
    consumed_units = models.FloatField(_("consumed units"), null=True)
    credited_units = models.FloatField(_("credited units"), null=True)
    balance = models.FloatField(_("balance"), null=True)

    class Meta:
        verbose_name = _("meter")
        verbose_name_plural = _("meters")
        indexes = (
            models.Index(fields=("meter", "balance"), name="polar_meter_balance"),
            models.Index(fields=("balance", "id"), name="polar_meter_lowest"),
            models.Index(fields=("created_at", "id"), name="polar_meter_created"),
        )

    def __str__(self) -> str:
        return f"{self.meter_id}: {self.balance}"
