"""A benefit that a customer has been granted."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from polar_sync.models.base import PolarModel


class BenefitGrant(PolarModel):
    """A granted benefit in a customer's state. One that is revoked leaves the table."""

    customer = models.ForeignKey(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        related_name="benefit_grants",
    )
    granted_at = models.DateTimeField(_("granted at"), null=True)
    benefit = models.ForeignKey(
        "polar_sync.Benefit",
        verbose_name=_("benefit"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,  # Polar may name one that it has not shown us
        db_index=False,
        null=True,
        related_name="grants",
    )
    benefit_type = models.TextField(_("benefit type"), null=True)
    benefit_metadata = models.JSONField(_("benefit metadata"), null=True)
    properties = models.JSONField(_("properties"), null=True)

    class Meta:
        verbose_name = _("benefit grant")
        verbose_name_plural = _("benefit grants")
        indexes = (
            models.Index(fields=("benefit", "customer"), name="polar_grant_benefit"),
            models.Index(fields=("benefit_type", "customer"), name="polar_grant_type"),
            models.Index(fields=("created_at", "id"), name="polar_grant_created"),
        )

    def __str__(self) -> str:
        return f"{self.benefit_type} {self.benefit_id}"
