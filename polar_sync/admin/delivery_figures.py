"""The overview's numbers of deliveries: how late they come, how many wait, and how many failed."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.utils import timezone

from polar_sync.models import WebhookDelivery

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


def count_deliveries(organizations: QuerySet[Any]) -> QuerySet[Any]:
    """Organizations with `waiting` and `failed`, which stop at one more than `COUNT_LIMIT`; from indexes of both."""
    rows = WebhookDelivery.objects.filter(organization=OuterRef("pk")).order_by().values("pk")
    found: QuerySet[Any] = organizations.annotate(
        waiting=_CountOf(rows.filter(status=_Status.RECEIVED)[: COUNT_LIMIT + 1]),
        failed=_CountOf(rows.filter(status=_Status.FAILED)[: COUNT_LIMIT + 1]),
    )
    return found
