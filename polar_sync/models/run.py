"""The truth about a run: Celery only carries the work."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from polar_sync.models.base import PrimaryManager

OUTCOMES = ("created", "updated", "unchanged", "stale", "deleted", "failed")


class SyncRun(models.Model):
    """One run over an organization: what it came to, and how far it is.

    Times are the database's, except `began_at`, which is Polar's: its first answer tells of all customers who were
    created until then. Every customer that the run accounted for counts once: `listed` is the sum of the six outcomes.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        PARTIAL = "partial", _("partial")
        FAILED = "failed", pgettext_lazy("status of a run", "failed")

    class Source(models.TextChoices):
        BATCHED = "batched", _("lists of many customers")
        PER_CUSTOMER = "per_customer", _("each customer's state")

    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        related_name="runs",
    )
    source = models.CharField(_("source of states"), max_length=20, choices=Source, blank=True, default="")
    source_note = models.TextField(_("why this source"), blank=True, default="")
    state_fields = models.JSONField(_("fields of a state"), default=dict, editable=False)
    requests_by_part = models.JSONField(_("requests by part"), default=dict, editable=False)
    status = models.CharField(_("status"), max_length=20, choices=Status, default=Status.RUNNING)
    reason = models.CharField(_("reason"), max_length=50, blank=True, default="")
    detail = models.TextField(_("detail"), blank=True, default="")
    is_mass_deletion_allowed = models.BooleanField(_("mass deletion allowed"), default=False)
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    # Null once whoever worked on it has let go on purpose: the run may be continued at once.
    heartbeat_at = models.DateTimeField(_("heartbeat at"), null=True, db_default=Now())
    waiting_until = models.DateTimeField(_("waiting until"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    pass_number = models.PositiveSmallIntegerField(_("pass"), default=1)
    began_at = models.DateTimeField(_("began at"), null=True)
    # Of the first answer of the present pass; a page that is listed again does not change them.
    pass_began_at = models.DateTimeField(_("pass began at"), null=True)
    first_total = models.PositiveBigIntegerField(_("total when the run began"), null=True)
    pass_total = models.PositiveBigIntegerField(_("total when the pass began"), null=True)
    created = models.PositiveBigIntegerField(pgettext_lazy("customers that a run", "created"), default=0)
    updated = models.PositiveBigIntegerField(_("updated"), default=0)
    unchanged = models.PositiveBigIntegerField(_("unchanged"), default=0)
    stale = models.PositiveBigIntegerField(_("stale"), default=0)
    deleted = models.PositiveBigIntegerField(_("deleted"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    requests = models.PositiveBigIntegerField(_("requests"), default=0)
    throttled_seconds = models.FloatField(_("throttled seconds"), default=0.0)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync run")
        verbose_name_plural = _("sync runs")
        ordering = ("-id",)
        permissions = (("sync_organization", _("Can start, resume and cancel runs")),)
        constraints = (
            models.UniqueConstraint(
                fields=("organization",),
                condition=models.Q(status="running"),
                name="polar_run_one_active",
            ),
        )

    def __str__(self) -> str:
        return f"{self.organization} #{self.pk}: {self.status}"

    @property
    def listed(self) -> int:
        """Customers that the run accounted for: on Polar's list, or asked for because they no longer were."""
        return sum(self.outcomes.values())

    @property
    def outcomes(self) -> dict[str, int]:
        """The same, by what became of them."""
        return {outcome: getattr(self, outcome) for outcome in OUTCOMES}

    @property
    def is_running(self) -> bool:
        """Whether the run has not ended yet, be it worked on or abandoned."""
        return self.status == self.Status.RUNNING


class SyncPage(models.Model):
    """A piece of a run's work: a page of Polar's list, or up to 100 customers that were on none.

    Claimed by a conditional update with a lease on the database's clock. Its writes, its counts and its completion
    are committed together, by the holder of the lease only.
    """

    class Kind(models.TextChoices):
        LIST = "list", _("list")
        CONFIRM = "confirm", _("confirm")

    run = models.ForeignKey(SyncRun, verbose_name=_("run"), on_delete=models.CASCADE, related_name="pages")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind, default=Kind.LIST)
    pass_number = models.PositiveSmallIntegerField(_("pass"), default=1)
    number = models.PositiveIntegerField(_("number"))
    customer_ids = models.JSONField(_("customer ids"), default=list)
    is_done = models.BooleanField(_("done"), default=False)
    lease_token = models.UUIDField(_("lease token"), null=True)
    leased_until = models.DateTimeField(_("leased until"), null=True)
    claims = models.PositiveSmallIntegerField(_("claims"), default=0)
    # Of the last answer that listed this page:
    total_count = models.PositiveBigIntegerField(_("total count"), null=True)
    max_page = models.PositiveIntegerField(_("last page"), null=True)
    listed_at = models.DateTimeField(_("listed at"), null=True)
    # Distinct customers that this page was the first of its pass to see, and of them those created after it began.
    seen = models.PositiveIntegerField(_("seen"), default=0)
    seen_newer = models.PositiveIntegerField(_("seen newer"), default=0)
    # The same for the run over all its passes, newer than the run's own beginning.
    seen_first = models.PositiveIntegerField(_("seen first"), default=0)
    seen_first_newer = models.PositiveIntegerField(_("seen first, newer"), default=0)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync page")
        verbose_name_plural = _("sync pages")
        constraints = (
            models.UniqueConstraint(fields=("run", "pass_number", "kind", "number"), name="polar_page_once"),
        )
        indexes = (models.Index(fields=("run", "id"), condition=models.Q(is_done=False), name="polar_page_open"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.pass_number}/{self.number}"


class SyncFailure(models.Model):
    """A customer that a run could not mirror, and why. `customer_id` is text: it may be what was wrong."""

    run = models.ForeignKey(SyncRun, verbose_name=_("run"), on_delete=models.CASCADE, related_name="failures")
    customer_id = models.CharField(_("customer id"), max_length=100)
    reason = models.TextField(_("reason"))
    pass_number = models.PositiveSmallIntegerField(_("last seen in pass"), default=1)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync failure")
        verbose_name_plural = _("sync failures")
        constraints = (models.UniqueConstraint(fields=("run", "customer_id"), name="polar_failure_once"),)

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.reason}"


class SyncContradiction(models.Model):
    """A customer that Polar listed, and then said did not exist when the run asked for its state.

    That proves nothing: until the run has asked for the customer itself, it has neither seen nor lost it. `created_at`
    is the customer's, on Polar's clock.
    """

    run = models.ForeignKey(SyncRun, verbose_name=_("run"), on_delete=models.CASCADE, related_name="contradictions")
    customer_id = models.UUIDField(_("customer id"))
    created_at = models.DateTimeField(_("created at"), null=True)
    pass_number = models.PositiveSmallIntegerField(_("last listed in pass"), default=1)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync contradiction")
        verbose_name_plural = _("sync contradictions")
        constraints = (models.UniqueConstraint(fields=("run", "customer_id"), name="polar_contradiction_once"),)

    def __str__(self) -> str:
        return f"{self.customer_id}: listed in pass {self.pass_number}, and denied"
