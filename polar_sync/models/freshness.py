"""How fresh the mirror of an organization is: what a run has proven, and until when Polar's reports are in it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.conf import settings
from polar_sync.models.webhook import PendingRefresh, WebhookDelivery, WebhookFeed

if TYPE_CHECKING:
    from polar_sync.models.organization import Organization


class Freshness(NamedTuple):
    """As true as `is_fresh`; `as_of` is the time, on Polar's clock, that the mirror is level with, as far as is known.

    `reason` says why it is not fresh, empty where it is.
    """

    is_fresh: bool
    as_of: datetime | None
    reason: str

    def __bool__(self) -> bool:
        return self.is_fresh


def get_told_until(organization: Organization) -> datetime | None:
    """See `Organization.told_until`."""
    feed = WebhookFeed.objects.filter(organization=organization).first()
    if feed is None or feed.failed_read_until is None or organization.complete_as_of is None:
        return None
    bounds = [feed.failed_read_until - timedelta(seconds=settings.settle_seconds)]
    if feed.gap_since is not None and not feed.is_gap_closed(organization.complete_as_of):
        bounds.append(feed.gap_since)
    unprocessed = WebhookDelivery.objects.filter(
        organization=organization,
        status__in=(WebhookDelivery.Status.RECEIVED, WebhookDelivery.Status.FAILED),
        timestamp__gt=organization.complete_as_of,
    )
    overdue = models.Q(attempts__gt=0) | models.Q(due_at__lte=Now())
    waiting = PendingRefresh.objects.filter(overdue, organization=organization)
    oldest = (
        unprocessed.order_by("timestamp").values_list("timestamp", flat=True).first(),
        waiting.order_by("since").values_list("since", flat=True).first(),
    )
    return min([*bounds, *(time for time in oldest if time is not None)])


def judge_freshness(organization: Organization, *, within: timedelta) -> Freshness:
    """See `Organization.is_fresh`."""
    complete_as_of, told_until = organization.complete_as_of, get_told_until(organization)
    if complete_as_of is None:
        return Freshness(is_fresh=False, as_of=None, reason="No run has succeeded yet.")
    as_of = max(complete_as_of, told_until or complete_as_of)
    age = timezone.now() - as_of
    if age <= within:
        return Freshness(is_fresh=True, as_of=as_of, reason="")
    return Freshness(is_fresh=False, as_of=as_of, reason=_explain(organization, told_until, within=within))


def _explain(organization: Organization, told_until: datetime | None, *, within: timedelta) -> str:
    known = f"The last run that succeeded began at {organization.complete_as_of:%Y-%m-%d %H:%M:%S}"
    if told_until is None:
        return f"{known}, longer than {within} ago, and the list of webhook deliveries is not read."
    feed = WebhookFeed.objects.filter(organization=organization).first()
    problem = f" {feed.problem}" if feed is not None and feed.problem else ""
    reported = f"what Polar reported is known until {told_until:%Y-%m-%d %H:%M:%S}"
    return f"{known}, and {reported}, both longer than {within} ago.{problem}"
