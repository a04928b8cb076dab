"""What an organization's mirror held day by day."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class DailyStatistics(models.Model):
    """Numbers of an organization as of the last run of a day that succeeded; on other days there is no row.

    Days are those of `TIME_ZONE`. `monthly_recurring_revenue` is by currency, in its smallest unit; what is in it says
    `polar_sync.store.statistics`.
    """

    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        related_name="daily_statistics",
        db_index=False,  # the constraint below begins with it
    )
    date = models.DateField(_("date"))
    customers = models.PositiveBigIntegerField(_("customers"))
    active_subscriptions = models.PositiveBigIntegerField(_("active subscriptions"))
    monthly_recurring_revenue = models.JSONField(_("monthly recurring revenue"), default=dict)

    class Meta:
        verbose_name = _("daily statistics")
        verbose_name_plural = _("daily statistics")
        default_permissions = ()  # they are shown to whoever may view what they count
        constraints = (models.UniqueConstraint(fields=("organization", "date"), name="polar_statistics_once"),)

    def __str__(self) -> str:
        return f"{self.organization_id} on {self.date}: {self.customers}"
