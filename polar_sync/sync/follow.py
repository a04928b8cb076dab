"""Keeping up with Polar between runs: the feed read, what is kept processed, and those asked about who are due."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import PolarSyncError, RunActiveError
from polar_sync.models import Organization, SyncRun, WebhookFeed
from polar_sync.states import stops_fetching
from polar_sync.sync.connections import Connection
from polar_sync.sync.deliveries import get_organization_row, process_deliveries
from polar_sync.sync.feed import FollowResult, read_feed
from polar_sync.sync.pending_refreshes import ask_due, count_due
from polar_sync.sync.runs import begin_run

logger = logging.getLogger(__name__)

_RUN_EVERY = timedelta(minutes=15)
"""A run that is needed and did not succeed is started again after so long."""

_RUN_DELAY = timedelta(seconds=10)


def has_webhooks(entry: OrganizationSettings) -> bool:
    """Whether anything says that Polar has an endpoint for this organization."""
    if entry.webhook_secrets or entry.webhook_endpoint_id:
        return True
    return WebhookFeed.objects.filter(organization__name=entry.name).exclude(endpoint_id=None).exists()


def follow(entry: OrganizationSettings, connection: Connection, *, is_whole: bool = False) -> FollowResult:
    """Read Polar's list of deliveries, process all that is kept, and ask about all who are due.

    Raises every error of the client. What was read until then is processed all the same.
    """
    organization = get_organization_row(entry)
    try:
        result = read_feed(entry, organization, connection, is_whole=is_whole)
    except PolarSyncError as error:
        process_all(entry, organization)
        if not stops_fetching(error):
            ask_all_due(entry, organization, connection)
        raise
    process_all(entry, organization)
    ask_all_due(entry, organization, connection)
    return result


def process_all(entry: OrganizationSettings, organization: Organization) -> int:
    """Process whatever is received; no request is made. Returns how many deliveries that were."""
    count = 0
    while done := process_deliveries(entry, organization):
        count += done
    return count


def ask_all_due(entry: OrganizationSettings, organization: Organization, connection: Connection) -> None:
    """Ask about all who are due. Raises what ends all asking."""
    while count_due(organization):
        ask_due(entry, organization, connection)


def get_run_delay(organization: Organization) -> timedelta:
    """How long to wait until a run that is needed proves something: what Polar reads can be some seconds old."""
    gap_until = WebhookFeed.objects.filter(pk=organization.pk).values_list("gap_until", flat=True).first()
    return max(gap_until + _RUN_DELAY - timezone.now(), timedelta()) if gap_until is not None else timedelta()


def needs_run(organization: Organization) -> bool:
    """Whether there is a gap in what Polar reports that only a run can close, and none has been tried since."""
    feed = WebhookFeed.objects.filter(pk=organization.pk).first()
    if feed is None or feed.gap_since is None:
        return False
    if feed.is_gap_closed(Organization.objects.get(pk=organization.pk).complete_as_of):
        return False
    runs = SyncRun.objects.filter(organization=organization)
    if feed.gap_until is None:  # it goes on: one run says what is, and then the project's schedule does
        return not runs.filter(started_at__gt=feed.gap_noted_at or feed.gap_since).exists()
    noted_at = feed.gap_noted_at or feed.gap_until
    return not runs.filter(started_at__gt=max(noted_at, timezone.now() - _RUN_EVERY)).exists()


def begin_needed_run(entry: OrganizationSettings, organization: Organization) -> SyncRun | None:
    """Start the run that closes a gap in what Polar reports, where one is needed and it is not too early for it."""
    if not needs_run(organization) or get_run_delay(organization):
        return None
    try:
        run = begin_run(entry)
    except RunActiveError as error:
        logger.info("%s", error)
        return None
    logger.warning("%s: run %s was started, as webhooks cannot tell what changed", organization, run.pk)
    return run
