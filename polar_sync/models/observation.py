"""When Polar last told us of a customer."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class CustomerObservation(models.Model):
    """When, on Polar's clock, what is mirrored of a customer was read.

    Narrow on purpose: it is the one row that a run touches for every customer, and what the store locks. Each part of
    a customer has an interval of its own (from `…_at` to `…_until`: no single moment can be known) and a number that
    says where it was read from (`polar_sync.store.ordering.Source`). What is mirrored is at least as new as `…_at`.
    """

    customer = models.OneToOneField(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="observation",
    )
    observed_at = models.DateTimeField(_("observed at"), null=True)
    observed_until = models.DateTimeField(_("observed until"), null=True)
    observed_from = models.PositiveSmallIntegerField(_("observed from"), null=True)
    extra_observed_at = models.DateTimeField(_("further fields observed at"), null=True)
    state_observed_at = models.DateTimeField(_("state observed at"), null=True)
    state_observed_until = models.DateTimeField(_("state observed until"), null=True)
    state_observed_from = models.PositiveSmallIntegerField(_("state observed from"), null=True)
    absent_at = models.DateTimeField(
        _("absent at"), null=True, help_text=_("When Polar said that there is no such customer.")
    )
    answered_at = models.DateTimeField(
        _("answered at"), null=True, help_text=_("When Polar last answered about the customer's state, on our clock.")
    )
    # Not a foreign key: pruning old runs must not touch a row for every customer.
    seen_by_run = models.BigIntegerField(_("seen by run"), null=True)
    seen_in_pass = models.PositiveSmallIntegerField(_("seen in pass"), null=True)

    class Meta:
        verbose_name = _("customer observation")
        verbose_name_plural = _("customer observations")

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.state_observed_at}"
