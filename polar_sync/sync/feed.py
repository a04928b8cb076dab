"""Polar's list of deliveries, read as a feed: whatever it attempted to deliver and did not reach us is found there.

A window is read backwards on the first page of the list, which newer attempts do not shift; `cursor` is how far. The
watermarks move when a window is finished, so that whoever is killed goes on where that was.
https://polar.sh/docs/api-reference/webhooks/deliveries/list

What was never attempted is on no list: an endpoint that Polar has disabled makes no events at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import router, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.client import ListPage
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import BudgetError, ConfigurationError, NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import Organization, WebhookDelivery, WebhookFeed
from polar_sync.payloads import Interval
from polar_sync.payloads.values import clean_text, read_label, read_timestamp, read_uuid
from polar_sync.signals import webhook_endpoint_disabled
from polar_sync.sync.attempts import build_delivery, read_attempted_at
from polar_sync.sync.connections import Connection
from polar_sync.sync.deliveries import keep_deliveries
from polar_sync.sync.endpoints import find_endpoint_problem
from polar_sync.sync.leases import LeaseLostError

logger = logging.getLogger(__name__)

PAGE_SIZE = 100
KEPT_BY_POLAR = timedelta(days=90)
_OVERLAP = timedelta(minutes=1)
"""Attempts surface a moment after their time."""
_WHOLE_EVERY = timedelta(days=1)
_GAP = timedelta(minutes=15)
"""Without a finished window for so long, all deliveries are read again, and not only those that failed."""
CHECK_EVERY = timedelta(minutes=4)
"""Within `SETTLE_SECONDS`, so that nothing is taken for told that made no event."""
_TICK = timedelta(microseconds=1)
_FREE = Q(leased_until=None) | Q(leased_until__lt=Now())


@dataclass(slots=True)
class FollowResult:
    """What one reading of the feed came to; `is_finished` is False where another is reading it."""

    kept: int = 0
    pages: int = 0
    is_finished: bool = False


def read_feed(
    entry: OrganizationSettings, organization: Organization, connection: Connection, *, is_whole: bool = False
) -> FollowResult:
    """Read what Polar attempted to deliver since the last reading: what failed, or all of it.

    All of it with `is_whole`, once a day, and after a gap. Raises every error of the client, with all that was read
    until then kept, and `ConfigurationError` where it is not known which of several endpoints is ours.
    """
    feed = _claim(organization)
    if feed is None:
        return FollowResult()
    reader = _FeedReader(entry, organization, connection, feed)
    try:
        reader.check_endpoint()
        reader.read(is_whole=is_whole)
    except LeaseLostError:
        return FollowResult()
    except BudgetError:
        raise  # for now
    except PolarSyncError as error:
        WebhookFeed.objects.filter(pk=feed.pk).update(problem=clean_text(f"{type(error).__name__}: {error}"))
        raise
    finally:
        reader.release()
    return reader.result


def _claim(organization: Organization) -> WebhookFeed | None:
    WebhookFeed.objects.get_or_create(organization=organization)
    token, end = uuid4(), _get_lease_end()
    feeds = WebhookFeed.objects.filter(pk=organization.pk)
    if not feeds.filter(_FREE).update(lease_token=token, leased_until=end):
        return None
    return feeds.get(lease_token=token)


class _FeedReader:
    """One reading, under a lease that every page renews."""

    def __init__(
        self, entry: OrganizationSettings, organization: Organization, connection: Connection, feed: WebhookFeed
    ) -> None:
        self.result = FollowResult()
        self._entry = entry
        self._organization = organization
        self._connection = connection
        self._feed = feed
        self._has_failures = self._is_checked = False
        self._problem = feed.problem if feed.is_enabled is False else ""

    def check_endpoint(self, *, is_overdue: bool = False) -> None:
        """Which endpoint is ours, and whether it sends all that is needed: asked for every few minutes."""
        feed, wanted = self._feed, self._entry.webhook_endpoint_id
        known = wanted or feed.endpoint_id
        is_checked = feed.checked_at is not None and timezone.now() - feed.checked_at < CHECK_EVERY
        if is_overdue or not (known == feed.endpoint_id and feed.is_enabled and is_checked):
            self._note_endpoint(*self._get_endpoint(known))

    def _get_endpoint(self, known: UUID | None) -> tuple[Mapping[str, Any], Interval]:
        endpoints = self._connection.client.webhook_endpoints
        if known is not None:
            try:
                found = endpoints.get(known)
            except NotFoundError as error:
                problem = (
                    f"The webhook endpoint {known} of {self._entry.name!r} is not on Polar any more, so that changes "
                    "make no events. Run manage.py polar_sync_webhook --url …, or correct WEBHOOK_ENDPOINT_ID."
                )
                self._open_gap(problem)
                self.save(is_enabled=None)
                raise ConfigurationError(problem) from error
            return found, found.interval
        page = endpoints.list(organization_id=self._connection.organization_id)
        if len(page.items) != 1 or not isinstance(page.items[0], dict):
            raise ConfigurationError(
                f"{self._entry.name!r} has {len(page.items)} webhook endpoints on Polar, so that it is not known which "
                "one is this project's. Run manage.py polar_sync_webhook --url …, or set WEBHOOK_ENDPOINT_ID."
            )
        return page.items[0], page.interval

    def _note_endpoint(self, endpoint: Mapping[str, Any], interval: Interval) -> None:
        feed, url = self._feed, read_label(endpoint.get("url")) or ""
        key = read_uuid(endpoint.get("id"))
        if key != feed.endpoint_id or feed.is_enabled is None:
            self._begin_endpoint(read_timestamp(endpoint.get("created_at")) or interval.end)
        self._problem, self._is_checked = find_endpoint_problem(endpoint), True
        if self._problem:
            self._open_gap(self._problem)
            if endpoint.get("enabled") is not True:
                interval = self._enable(endpoint) or interval
        if not self._problem and feed.gap_since is not None and feed.gap_until is None:
            self.save(gap_until=interval.end, gap_noted_at=timezone.now())
        self.save(
            endpoint_id=key,
            endpoint_url=url,
            is_enabled=endpoint.get("enabled") is True or not self._problem,
            checked_at=timezone.now(),
            problem=self._problem,
        )

    def _begin_endpoint(self, created_at: datetime) -> None:
        """The deliveries of another endpoint are no continuation; what changed before there was one made no event."""
        complete_as_of = self._organization.complete_as_of
        nothing_read = {"all_read_until": None, "failed_read_until": None, "window_start": None, "cursor": None}
        self.save(**nothing_read, window_began_at=None)
        if complete_as_of is None or complete_as_of <= created_at:
            self._note_gap(since=complete_as_of or created_at, until=created_at)

    def _enable(self, endpoint: Mapping[str, Any]) -> Interval | None:
        """Enable it again where the settings allow that; None where it stays as it is."""
        if not settings.enable_webhook_endpoint:
            return None
        try:
            enabled = self._connection.client.webhook_endpoints.update(str(endpoint.get("id")), enabled=True)
        except PolarSyncError as error:
            logger.warning("%s: the webhook endpoint could not be enabled again: %s", self._organization, error)
            return None
        logger.warning("%s: the webhook endpoint was enabled again", self._organization)
        self._problem = find_endpoint_problem(enabled)
        return enabled.interval

    def _open_gap(self, problem: str) -> None:
        """Since it was last seen to be well, changes may have made no event, and Polar dropped what it had not sent."""
        if self._has_gap and self._feed.gap_until is None:
            return
        self._note_gap(since=min(self._list_times(), default=timezone.now()) - get_settle_time(), until=None)
        logger.error("%s: %s", self._organization, problem)
        webhook_endpoint_disabled.send_robust(WebhookFeed, organization=self._organization, problem=problem)

    def _list_times(self) -> list[datetime]:
        times = (self._feed.checked_at, self._feed.failed_read_until, self._organization.complete_as_of)
        known = [time for time in times[:2] if time is not None]
        return known or [time for time in times[2:] if time is not None]

    def _note_gap(self, *, since: datetime, until: datetime | None) -> None:
        """Widen the gap that is open, or open one."""
        feed = self._feed
        if self._has_gap and feed.gap_since is not None:
            since = min(since, feed.gap_since)
            until = max(until, feed.gap_until) if until is not None and feed.gap_until is not None else None
        self.save(gap_since=since, gap_until=until, gap_noted_at=timezone.now())

    @property
    def _has_gap(self) -> bool:
        feed = self._feed
        return feed.gap_since is not None and not feed.is_gap_closed(self._organization.complete_as_of)

    def read(self, *, is_whole: bool) -> None:
        """Read the window that another began and did not finish, and then all that came after it, to the end."""
        is_whole = is_whole or self._must_read_all()
        was_begun = self._feed.window_start is not None
        self._read_window(is_whole=is_whole)
        if was_begun:
            self._read_window(is_whole=is_whole)
        self.result.is_finished = True
        if self._has_failures and not self._is_checked:
            self.check_endpoint(is_overdue=True)

    def _read_window(self, *, is_whole: bool) -> None:
        feed = self._feed
        if feed.window_start is None or (is_whole and not feed.is_window_of_all):
            start = self._get_start(is_whole=is_whole)
            self.save(is_window_of_all=is_whole, window_start=start, window_began_at=None, cursor=None)
        self._read_pages()
        read_until = {"failed_read_until": feed.window_began_at}
        if feed.is_window_of_all:
            read_until["all_read_until"] = feed.window_began_at
        finished = {"window_start": None, "window_began_at": None, "cursor": None}
        self.save(**read_until, **finished, finished_at=timezone.now(), problem=self._problem)

    def _must_read_all(self) -> bool:
        """Also where nothing says that it is this project that receives: then nothing fails that it lacks."""
        feed, now = self._feed, timezone.now()
        if feed.all_read_until is None or feed.finished_at is None or not self._entry.webhook_secrets:
            return True
        return now - feed.all_read_until > _WHOLE_EVERY or now - feed.finished_at > _GAP

    def _get_start(self, *, is_whole: bool) -> datetime:
        """Up to there everything is known: from an earlier window, or from a run, which knows it by itself."""
        feed = self._feed
        known = feed.all_read_until if is_whole else feed.failed_read_until
        known = known or self._organization.complete_as_of
        return known - _OVERLAP if known is not None else timezone.now() - KEPT_BY_POLAR

    def _read_pages(self) -> None:
        """Walk back through the window from where that was left, keeping what is new on each page."""
        feed, number = self._feed, 1
        while True:
            page = self._connection.client.webhook_deliveries.list(
                endpoint_id=feed.endpoint_id,
                start_timestamp=feed.window_start,
                end_timestamp=feed.cursor,
                succeeded=None if feed.is_window_of_all else False,
                page=number,
                limit=PAGE_SIZE,
            )
            self.result.pages += 1
            if page.total_count and not page.items:
                raise PayloadError("Polar's list of deliveries counts attempts that it does not show")
            # What is exactly at the end is left out. A page that is all of one moment is followed by the next page.
            oldest = min(map(read_attempted_at, page.items), default=None)
            is_last, cursor = page.total_count <= (number - 1) * PAGE_SIZE + len(page.items), feed.cursor
            if oldest is not None and (cursor is None or oldest + _TICK < cursor):
                cursor, number = oldest + _TICK, 1
            else:
                number += 1
            self._keep(page, began_at=feed.window_began_at or page.interval.start, cursor=cursor)
            if is_last:
                return

    def _keep(self, page: ListPage, *, began_at: datetime, cursor: datetime | None) -> None:
        """Keep the events of a page, the oldest first, with how far the window is read."""
        events: dict[str, Mapping[str, Any]] = {}
        for item in reversed(page.items):
            self._has_failures |= item.get("succeeded") is False
            event = item.get("webhook_event")
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                events.setdefault(event["id"], event)
        rows = [build_delivery(event, self._organization) for event in events.values()]
        with transaction.atomic(using=router.db_for_write(WebhookDelivery)):
            self.result.kept += keep_deliveries(rows)
            self._note_lost(rows, events, until=page.interval.end)
            self.save(window_began_at=began_at, cursor=cursor, leased_until=_get_lease_end())

    def _note_lost(
        self, rows: Sequence[WebhookDelivery], events: Mapping[str, Mapping[str, Any]], *, until: datetime
    ) -> None:
        """An archived event tells nothing any more, nor does one that Polar skipped: a run brings what they said."""
        ids = [row.webhook_id for row in rows if not row.payload or events[row.webhook_id].get("skipped") is True]
        lost = WebhookDelivery.objects.filter(organization=self._organization, webhook_id__in=ids, payload="")
        if self._organization.complete_as_of is not None:
            lost = lost.filter(timestamp__gte=self._organization.complete_as_of)
        oldest = lost.filter(scrubbed_at=None).order_by("timestamp").values_list("timestamp", flat=True).first()
        if oldest is not None:
            logger.warning("%s: what some events said is archived; a run is needed", self._organization)
            self._note_gap(since=oldest, until=until)

    def save(self, **columns: Any) -> None:
        """Note this in the row. Raises `LeaseLostError` where another reads the feed by now."""
        held = WebhookFeed.objects.filter(pk=self._feed.pk, lease_token=self._feed.lease_token)
        if not held.update(**columns):
            raise LeaseLostError
        for name, value in columns.items():
            setattr(self._feed, name, value)

    def release(self) -> None:
        """Let others read."""
        held = WebhookFeed.objects.filter(pk=self._feed.pk, lease_token=self._feed.lease_token)
        held.update(lease_token=None, leased_until=None)


def get_settle_time() -> timedelta:
    """How long Polar's queue is given."""
    return timedelta(seconds=settings.settle_seconds)


def _get_lease_end() -> object:
    return Now() + timedelta(seconds=settings.lease_seconds)
