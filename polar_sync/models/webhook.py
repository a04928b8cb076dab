"""What Polar reported by webhook, how far its list of deliveries was read, and who is to be asked about."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from polar_sync.models.base import PrimaryManager


class WebhookDelivery(models.Model):
    """One event of Polar's as it reached this project, once for every `webhook_id`.

    `payload` is the text that was signed. Kept before it is acknowledged; rows that it changes and its `status` are
    committed together. `timestamp` is Polar's clock, the other times are the database's.
    https://polar.sh/docs/integrate/webhooks/delivery
    """

    class Status(models.TextChoices):
        RECEIVED = "received", pgettext_lazy("status of a delivery", "received")
        PROCESSED = "processed", pgettext_lazy("status of a delivery", "processed")
        IGNORED = "ignored", pgettext_lazy("status of a delivery", "ignored")
        STALE = "stale", pgettext_lazy("status of a delivery", "stale")
        FAILED = "failed", pgettext_lazy("status of a delivery", "failed")

    class Via(models.TextChoices):
        WEBHOOK = "webhook", _("webhook")
        FEED = "feed", _("list of deliveries")

    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        related_name="webhook_deliveries",
        db_index=False,  # the constraint below begins with it
    )
    webhook_id = models.CharField(_("webhook id"), max_length=200)
    type = models.CharField(_("type"), max_length=100)
    timestamp = models.DateTimeField(_("Polar's time"))
    received_at = models.DateTimeField(_("received at"), db_default=Now())
    via = models.CharField(_("received by"), max_length=10, choices=Via, default=Via.WEBHOOK)
    # Not a foreign key: Polar reports of customers that are not mirrored yet.
    customer_id = models.UUIDField(_("customer id"), null=True)
    payload = models.TextField(_("payload"), blank=True, default="", editable=False)
    scrubbed_at = models.DateTimeField(_("scrubbed at"), null=True)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.RECEIVED)
    reason = models.TextField(_("reason"), blank=True, default="")
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), null=True)
    processed_at = models.DateTimeField(_("processed at"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        ordering = ("-id",)
        permissions = (("process_webhookdelivery", _("Can process deliveries again")),)
        constraints = (models.UniqueConstraint(fields=("organization", "webhook_id"), name="polar_delivery_once"),)
        indexes = (
            models.Index(
                fields=("organization", "id"), condition=models.Q(status="received"), name="polar_delivery_pending"
            ),
            models.Index(
                fields=("organization", "id"), condition=models.Q(status="failed"), name="polar_delivery_failed"
            ),
            # The oldest of them bounds until when the mirror is told of everything.
            models.Index(
                fields=("organization", "timestamp"),
                condition=models.Q(status__in=("received", "failed")),
                name="polar_delivery_unprocessed",
            ),
            models.Index(fields=("customer_id", "timestamp"), name="polar_delivery_customer"),
            models.Index(fields=("received_at",), name="polar_delivery_received"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.webhook_id}"


class PendingRefresh(models.Model):
    """A customer whom Polar is to be asked about, once however many events asked for it.

    A state that Polar put together at `since` or later, on its own clock, makes it unnecessary. Asked for from `due_at`
    on, under a lease on the database's clock.
    """

    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        related_name="pending_refreshes",
        db_index=False,  # the constraint below begins with it
    )
    customer_id = models.UUIDField(_("customer id"))
    since = models.DateTimeField(_("since"))
    due_at = models.DateTimeField(_("due at"))
    reason = models.TextField(_("reason"), blank=True, default="")
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    lease_token = models.UUIDField(_("lease token"), null=True)
    leased_until = models.DateTimeField(_("leased until"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("pending refresh")
        verbose_name_plural = _("pending refreshes")
        constraints = (models.UniqueConstraint(fields=("organization", "customer_id"), name="polar_refresh_once"),)
        indexes = (models.Index(fields=("organization", "due_at"), name="polar_refresh_due"),)

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.reason}"


class WebhookFeed(models.Model):
    """How far Polar's list of deliveries was read for an organization, and what it cannot bridge.

    Times are Polar's but for `checked_at`, `finished_at`, `gap_noted_at` and `leased_until`. A window is read backwards
    from `window_began_at` to `window_start`; `cursor` is how far that is.
    https://polar.sh/docs/api-reference/webhooks/deliveries/list
    """

    organization = models.OneToOneField(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="webhook_feed",
    )
    endpoint_id = models.UUIDField(_("endpoint id"), null=True)
    endpoint_url = models.TextField(_("endpoint URL"), blank=True, default="")
    is_enabled = models.BooleanField(_("enabled"), null=True)
    checked_at = models.DateTimeField(_("checked at"), null=True)
    problem = models.TextField(_("problem"), blank=True, default="")
    # All that was attempted, or all that failed, is known from windows that reach to these.
    all_read_until = models.DateTimeField(_("all deliveries read until"), null=True)
    failed_read_until = models.DateTimeField(_("failed deliveries read until"), null=True)
    is_window_of_all = models.BooleanField(_("window of all deliveries"), default=False)
    window_began_at = models.DateTimeField(_("window began at"), null=True)
    window_start = models.DateTimeField(_("window start"), null=True)
    cursor = models.DateTimeField(_("cursor"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    # From then on, until a run has begun later and succeeded, changes may have made no event at all.
    gap_since = models.DateTimeField(_("gap since"), null=True)
    gap_until = models.DateTimeField(_("gap until"), null=True)
    gap_noted_at = models.DateTimeField(_("gap noted at"), null=True)
    lease_token = models.UUIDField(_("lease token"), null=True)
    leased_until = models.DateTimeField(_("leased until"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("webhook feed")
        verbose_name_plural = _("webhook feeds")

    def __str__(self) -> str:
        return f"{self.organization}: {self.finished_at}"

    def is_gap_closed(self, complete_as_of: datetime | None) -> bool:
        """Whether a run that succeeded began after the gap had ended."""
        return self.gap_until is not None and complete_as_of is not None and complete_as_of > self.gap_until
