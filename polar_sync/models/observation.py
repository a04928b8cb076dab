"""When Polar last told us of a customer."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class CustomerObservation(models.Model):
    """The times, on Polar's clock, as of which what is mirrored of a customer was true.

    Narrow on purpose: it is the one row that a run touches for every customer, and what the store locks. Each part of
    a customer has a time of its own, and an observation older than that changes nothing of the part.
    """

    customer = models.OneToOneField(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="observation",
    )
    observed_at = models.DateTimeField(_("observed at"), null=True)
    extra_observed_at = models.DateTimeField(_("further fields observed at"), null=True)
    state_observed_at = models.DateTimeField(_("state observed at"), null=True)
    absent_at = models.DateTimeField(
        _("absent at"), null=True, help_text=_("When Polar said that there is no such customer.")
    )
    # Not a foreign key: pruning old runs must not touch a row for every customer.
    seen_by_run = models.BigIntegerField(_("seen by run"), null=True)
    seen_in_pass = models.PositiveSmallIntegerField(_("seen in pass"), null=True)

    class Meta:
        verbose_name = _("customer observation")
        verbose_name_plural = _("customer observations")

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.state_observed_at}"
