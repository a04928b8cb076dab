"""Customers whom Polar is to be asked about, because an event left open what they have: asked together, once each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.models import Organization, PendingRefresh
from polar_sync.payloads.values import clean_text
from polar_sync.states import stops_fetching
from polar_sync.store import get_records
from polar_sync.sync.connections import Connection
from polar_sync.sync.refresh import refresh_each, refresh_from_lists
from polar_sync.sync.sources import are_lists_trusted

logger = logging.getLogger(__name__)

BATCH = 100
"""Customers asked for at a time: as many as one request of a list can name."""
_LONGEST_DELAY = timedelta(hours=1)
_MOST_DOUBLINGS = 8
_FREE = Q(leased_until=None) | Q(leased_until__lt=Now())


@dataclass(frozen=True, slots=True)
class Wanted:
    """That a customer is to be asked about from `due_at` on, unless a state of `since` or later has come by then."""

    since: datetime
    due_at: datetime
    reason: str

    def merge(self, other: Wanted) -> Wanted:
        """Both at once; the reason is that of the one that is due first."""
        first = min(self, other, key=lambda each: each.due_at)
        return Wanted(max(self.since, other.since), first.due_at, first.reason)


def note_wanted(wanted: Mapping[UUID, Wanted], covered: Mapping[UUID, datetime], *, organization: Organization) -> None:
    """Note who is wanted, and drop those for whom a state has come; in the caller's transaction, three statements.

    `covered` says of which time the state of a customer was that came.
    """
    ids = {*wanted, *covered}
    noted_before = _filter(organization).select_for_update().filter(customer_id__in=ids).order_by("customer_id")
    rows = {row.customer_id: row for row in noted_before}
    dropped = [row.pk for key, row in rows.items() if key not in wanted and row.since <= covered[key]]
    if dropped:
        PendingRefresh.objects.filter(pk__in=dropped).delete()
    noted = []
    for key, each in sorted(wanted.items()):
        row = rows.get(key)
        merged = each.merge(Wanted(row.since, row.due_at, row.reason)) if row is not None else each
        noted.append(
            PendingRefresh(
                organization=organization,
                customer_id=key,
                since=merged.since,
                due_at=merged.due_at,
                reason=merged.reason,
            )
        )
    if noted:
        PendingRefresh.objects.bulk_create(
            noted,
            update_conflicts=True,
            unique_fields=["organization", "customer_id"],
            update_fields=["since", "due_at", "reason"],
        )


def count_due(organization: Organization) -> int:
    """How many customers are to be asked about now and by nobody else."""
    return _filter(organization).filter(_FREE, due_at__lte=Now()).count()


def ask_due(entry: OrganizationSettings, organization: Organization, connection: Connection) -> int:
    """Ask about up to 100 customers who are due; returns how many that settled.

    Raises what ends all asking, such as a used up budget; who was not asked about then stays due.
    """
    rows = _claim(organization)
    settled = 0
    try:
        pending = {row.customer_id: row for row in rows}
        for row in _find_covered(rows):
            _settle(pending.pop(row.customer_id))
            settled += 1
        for key, error in _ask(entry, organization, pending, connection):
            if error is None:
                _settle(pending.pop(key))
                settled += 1
            elif stops_fetching(error):
                raise error
            else:
                _postpone(pending.pop(key), error)
    finally:
        _filter(organization).filter(pk__in=[row.pk for row in rows], lease_token=_get_token(rows)).update(
            lease_token=None, leased_until=None
        )
    return settled


def _filter(organization: Organization) -> QuerySet[PendingRefresh]:
    return PendingRefresh.objects.filter(organization=organization)


def _claim(organization: Organization) -> list[PendingRefresh]:
    due = _filter(organization).filter(_FREE, due_at__lte=Now()).order_by("due_at", "pk")
    ids = list(due.values_list("pk", flat=True)[:BATCH])
    token = uuid4()
    end = Now() + timedelta(seconds=settings.lease_seconds)
    claimed = PendingRefresh.objects.filter(_FREE, pk__in=ids).update(lease_token=token, leased_until=end)
    return list(PendingRefresh.objects.filter(lease_token=token).order_by("pk")) if claimed else []


def _get_token(rows: Iterable[PendingRefresh]) -> UUID | None:
    return next((row.lease_token for row in rows), None)


def _find_covered(rows: Iterable[PendingRefresh]) -> list[PendingRefresh]:
    """Those whose state was meanwhile read later than what asked for it, by a run or otherwise."""
    rows = list(rows)
    records = get_records([row.customer_id for row in rows])
    found = []
    for row in rows:
        record = records.get(row.customer_id)
        if record is not None and record.state is not None and record.state.interval.start > row.since:
            found.append(row)
    return found


def _ask(
    entry: OrganizationSettings,
    organization: Organization,
    pending: Mapping[UUID, PendingRefresh],
    connection: Connection,
) -> Iterator[tuple[UUID, PolarSyncError | None]]:
    """Each customer with None where the mirror has been brought to what Polar says, or the error that kept it."""
    ids, are_lists_used = list(pending), connection.has_lists and are_lists_trusted(organization)
    if are_lists_used:
        for key, error in refresh_from_lists(entry, ids, connection):
            if isinstance(error, MissingScopeError):
                connection.has_lists = False
                break
            yield key, error
    if not are_lists_used or not connection.has_lists:
        yield from refresh_each(entry, [key for key in ids if key in pending], connection)


def _settle(row: PendingRefresh) -> None:
    """What asked for it after it was claimed is not answered by this."""
    PendingRefresh.objects.filter(pk=row.pk, lease_token=row.lease_token, since=row.since).delete()


def _postpone(row: PendingRefresh, error: PolarSyncError) -> None:
    delay = min(timedelta(seconds=15 * 2 ** min(row.attempts, _MOST_DOUBLINGS)), _LONGEST_DELAY)
    reason = clean_text(f"{type(error).__name__}: {error}")
    logger.warning("Customer %s is asked about again in %s: %s", row.customer_id, delay, reason)
    PendingRefresh.objects.filter(pk=row.pk, lease_token=row.lease_token).update(
        due_at=timezone.now() + delay, attempts=F("attempts") + 1, reason=reason
    )
