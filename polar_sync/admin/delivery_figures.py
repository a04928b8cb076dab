"""The overview's numbers of deliveries: how late they come, how many wait, and how many failed."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import IntegerField, OuterRef, Subquery
from django.utils import timezone

from polar_sync.models import Organization, WebhookDelivery

LAG_PERIOD = timedelta(hours=1)
MAX_LAGS = 5000
COUNT_LIMIT = 1000
_HIGH_SHARE = 0.95
_Status = WebhookDelivery.Status


@dataclass(frozen=True, slots=True)
class Lag:
    """Between Polar's time and ours, of deliveries that Polar sent: the median, and what 95 % did not exceed."""

    median: timedelta
    high: timedelta


def get_lags() -> dict[int, Lag]:
    """Of the last hour, by organization, from its newest `MAX_LAGS` deliveries at most: one statement."""
    recent = WebhookDelivery.objects.filter(
        via=WebhookDelivery.Via.WEBHOOK, received_at__gte=timezone.now() - LAG_PERIOD
    )
    found: defaultdict[int, list[timedelta]] = defaultdict(list)
    rows = recent.order_by("-received_at").values_list("organization_id", "timestamp", "received_at")[:MAX_LAGS]
    for organization_id, timestamp, received_at in rows:
        found[organization_id].append(received_at - timestamp)
    return {organization_id: _summarize(sorted(lags)) for organization_id, lags in found.items()}


def _summarize(lags: list[timedelta]) -> Lag:
    return Lag(lags[(len(lags) - 1) // 2], lags[math.ceil(_HIGH_SHARE * len(lags)) - 1])


class _CountOf(Subquery):
    """The number of rows of a query, up to its limit."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Of an organization; each stops at one more than `COUNT_LIMIT`."""

    waiting: int
    failed: int


def count_deliveries() -> dict[int, DeliveryCounts]:
    """By organization, from the index of those that wait and the one of those that failed: one statement.

    Apart from other tables of one row an organization: PostgreSQL, which has no statistics of tables so small, expects
    very many rows of them together, and would compile a statement that takes a millisecond.
    """
    rows = WebhookDelivery.objects.filter(organization=OuterRef("pk")).order_by().values("pk")
    waiting, failed = (
        _CountOf(rows.filter(status=one)[: COUNT_LIMIT + 1]) for one in (_Status.RECEIVED, _Status.FAILED)
    )
    organizations = Organization.objects.order_by().values_list("pk", waiting, failed)
    return {key: DeliveryCounts(*numbers) for key, *numbers in organizations}
