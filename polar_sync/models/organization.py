"""A Polar organization that is mirrored, and what its mirror held day by day."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from polar_sync.models.freshness import Freshness, get_told_until, judge_freshness


class Organization(models.Model):
    """One entry of `POLAR_SYNC["ORGANIZATIONS"]` and the Polar organization that its token showed.

    `polar_id` is null until the first customer is seen; once set, a token that shows another organization under the
    same name is refused.
    """

    name = models.CharField(_("name"), max_length=200, unique=True)
    polar_id = models.UUIDField(_("Polar id"), null=True, unique=True)
    server = models.CharField(_("server"), max_length=500)
    last_succeeded_at = models.DateTimeField(_("last succeeded at"), null=True)
    complete_as_of = models.DateTimeField(
        _("complete as of"),
        null=True,
        help_text=_("When, on Polar's clock, the last run that succeeded began: it proves all that was true then."),
    )

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def told_until(self) -> datetime | None:
        """Until when, on Polar's clock, all that it reported is in the mirror: an assumption, where a run is a proof.

        As good as Polar's queue: what it has not attempted to deliver within `SETTLE_SECONDS` is missing. None where
        no run has succeeded yet, or the deliveries are not read. Up to four statements.
        """
        return get_told_until(self)

    def is_fresh(self, *, within: timedelta) -> Freshness:
        """Whether the mirror is as Polar was at most so long ago; true or false, with the reason where it is not."""
        return judge_freshness(self, within=within)


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


class Verification(models.Model):
    """What the last verification of an organization found: the mirror's states beside those of the state endpoint.

    `counts` are the differences by kind of object, `examples` some of them, without what tells of a person.
    """

    organization = models.OneToOneField(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="verification",
    )
    started_at = models.DateTimeField(_("started at"))
    finished_at = models.DateTimeField(_("finished at"), null=True)
    checked = models.PositiveBigIntegerField(_("customers checked"), default=0)
    differing = models.PositiveBigIntegerField(_("customers that differed"), default=0)
    repaired = models.PositiveBigIntegerField(_("customers repaired"), default=0)
    failed = models.PositiveBigIntegerField(_("customers that could not be asked about"), default=0)
    contradictions = models.PositiveBigIntegerField(_("differences"), default=0)
    unproven = models.PositiveBigIntegerField(_("differences within the hour"), default=0)
    counts = models.JSONField(_("differences by kind"), default=dict)
    examples = models.JSONField(_("examples"), default=list)

    class Meta:
        verbose_name = _("verification")
        verbose_name_plural = _("verifications")

    def __str__(self) -> str:
        return f"{self.organization}: {self.differing} of {self.checked} differed"

    @property
    def is_equal(self) -> bool:
        """Whether everybody could be asked about and nobody differed, or no longer does."""
        return self.differing == self.repaired and not self.failed
