"""How the mirror is doing, for monitoring."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import Count, Max, Q
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync.models import Customer, Organization, SyncRun
from polar_sync.rest import documents
from polar_sync.rest.details import ParameterError, make_detail, read_positive
from polar_sync.rest.freshness import format_instant
from polar_sync.rest.organizations import filter_organizations
from polar_sync.rest.permissions import READ_RUNS
from polar_sync.rest.views.base import PolarView

STALE_SECONDS = 86_400
_MAX_SECONDS = 10 * 365 * 86_400


class StatusView(PolarView):
    """Every organization's state of affairs."""

    permissions_by_method: ClassVar = {"GET": (READ_RUNS,)}
    parameters = frozenset({"stale_after"})

    @documents.describe(
        operation_id="sync:status",
        parameters=[documents.STALE_AFTER],
        responses=documents.answer(documents.StatusList, 401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Tell of each organization when it last succeeded, how many customers it has, and how many are stale.

        Stale are living customers whose state was not confirmed by Polar for `stale_after` seconds (one day).
        """
        seconds = _read_seconds(request.query_params.get("stale_after", str(STALE_SECONDS)))
        now = timezone.now()
        organizations = list(filter_organizations(request).order_by("name"))
        counts = _count_customers(organizations, stale_before=now - timedelta(seconds=seconds))
        runs = _get_last_runs(organizations)
        items = [_describe(one, counts.get(one.polar_id, (0, 0)), runs.get(one.pk), now=now) for one in organizations]
        response = Response({"items": items})
        response["Cache-Control"] = "private, no-store"
        return response


def _read_seconds(text: str) -> int:
    location = ("query", "stale_after")
    seconds = read_positive(text, location)
    if seconds > _MAX_SECONDS:
        message = f"Input should be less than or equal to {_MAX_SECONDS}"
        raise ParameterError(make_detail("less_than_equal", location, message, text, le=_MAX_SECONDS))
    return seconds


def _count_customers(organizations: Iterable[Organization], *, stale_before: datetime) -> dict[Any, tuple[int, int]]:
    stale = Q(observation__state_observed_at=None) | Q(observation__state_observed_at__lt=stale_before)
    ids = [one.polar_id for one in organizations if one.polar_id]
    rows = Customer.objects.filter(organization_id__in=ids).values("organization_id").order_by()
    counted = rows.annotate(living=Count("pk"), stale=Count("pk", filter=stale))
    return {row["organization_id"]: (row["living"], row["stale"]) for row in counted}


def _get_last_runs(organizations: Iterable[Organization]) -> dict[int, SyncRun]:
    """The last run of each that has ended."""
    ended = SyncRun.objects.filter(organization__in=list(organizations)).exclude(status=SyncRun.Status.RUNNING)
    last = ended.order_by().values("organization").annotate(last=Max("pk")).values("last")
    return {run.organization_id: run for run in SyncRun.objects.filter(pk__in=last)}


def _describe(
    organization: Organization, counts: tuple[int, int], run: SyncRun | None, *, now: datetime
) -> dict[str, Any]:
    last = organization.last_succeeded_at
    living, stale = counts
    return {
        "organization": organization.name,
        "organization_id": str(organization.polar_id) if organization.polar_id else None,
        "last_succeeded_at": format_instant(last) if last else None,
        "age_seconds": round((now - last).total_seconds(), 3) if last else None,
        "customers": living,
        "stale_customers": stale,
        "failed_customers": run.failed if run else 0,
        "last_run": _describe_run(run) if run else None,
    }


def _describe_run(run: SyncRun) -> dict[str, Any]:
    ended = format_instant(run.finished_at) if run.finished_at else None
    return {"id": run.pk, "status": run.status, "reason": run.reason, "finished_at": ended, "failed": run.failed}
