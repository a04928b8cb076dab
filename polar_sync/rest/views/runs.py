"""Runs of the synchronization, and how the mirror is doing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync import sync, tasks
from polar_sync.conf import settings
from polar_sync.models import Customer, Organization, SyncRun, WebhookFeed
from polar_sync.rest import schema
from polar_sync.rest.errors import ApiError, ConflictError, RequestValidationError, ResourceNotFoundError
from polar_sync.rest.filters import RunFilterSet
from polar_sync.rest.pagination import Sorting, get_page, parse_listing
from polar_sync.rest.permissions import READ_RUNS, STEER_RUNS
from polar_sync.rest.queries import filter_organizations, get_visible_names
from polar_sync.rest.renderers import has_body, read_fields
from polar_sync.rest.responses import format_instant
from polar_sync.rest.validation import ParameterError, make_detail, read_positive
from polar_sync.rest.views.base import PolarAskingView, PolarView
from polar_sync.sync.runs import cancel_run

SORTING = Sorting(("id",), default=("-id",))
_PARAMETERS = frozenset({"page", "limit"})
_NUMBERS = ("listed", "created", "updated", "unchanged", "stale", "deleted", "failed", "requests", "throttled_seconds")
_TIMES = ("started_at", "heartbeat_at", "finished_at")
_MAX_ID = 2**63 - 1
STALE_SECONDS = 86_400
_MAX_SECONDS = 10 * 365 * 86_400


class RunsView(PolarAskingView):
    """What the views of runs share."""

    permissions_by_method: ClassVar = {"GET": (READ_RUNS,), "POST": (READ_RUNS, STEER_RUNS)}

    def get_rows(self, request: Request) -> QuerySet[SyncRun]:
        """Runs over organizations that the caller may see."""
        visible = get_visible_names(request)
        rows = SyncRun.objects.select_related("organization")
        return rows if visible is None else rows.filter(organization__in=filter_organizations(request))

    def find_run(self, request: Request, text: str) -> SyncRun:
        """Raises 422 for what is no number, 404 for a run that there is not."""
        number = read_positive(text, ("path", "id"))
        run = self.get_rows(request).filter(pk=number).first() if number <= _MAX_ID else None
        if run is None:
            raise ResourceNotFoundError
        return run


class RunListView(RunsView):
    """All runs, and a new one."""

    def is_known_parameter(self, name: str) -> bool:
        return name in _PARAMETERS or RunFilterSet.is_known(name) or super().is_known_parameter(name)

    @schema.describe(
        operation_id="sync_runs:list",
        parameters=[*schema.PAGING, *schema.RUN_FILTERS],
        responses=schema.answer(schema.RunList, 401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List runs, the latest first."""
        page = get_page(RunFilterSet.filter_rows(self.get_rows(request), request), parse_listing(request, SORTING))
        return Response({"items": [show_run(run) for run in page.rows], "pagination": page.pagination})

    @schema.describe(
        operation_id="sync_runs:start",
        request=schema.RunStart,
        responses=schema.answer(schema.Run, 401, 403, 409, 422, 503, status=202),
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Start a run over an organization, or continue an abandoned one, on Celery; 409 while one is active."""
        name, is_allowed = _read_start(request)
        run = sync.begin_run(settings.get_organization(name), is_mass_deletion_allowed=is_allowed)
        transaction.on_commit(lambda: _queue(run.pk))
        run = self.get_rows(request).get(pk=run.pk)
        location = reverse("polar_sync_rest:run", args=(run.pk,))
        return Response(show_run(run), status=202, headers={"Location": location})


class RunView(RunsView):
    """One run."""

    permissions_by_method: ClassVar = {"GET": (READ_RUNS,)}

    @schema.describe(
        operation_id="sync_runs:get",
        parameters=[schema.RUN_ID],
        responses=schema.answer(schema.Run, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a run with the customers that failed, up to 1,000 of them."""
        run = self.find_run(request, kwargs["id"])
        failures = run.failures.order_by("pk").values("customer_id", "reason")[:1000]
        return Response({**show_run(run), "failures": list(failures)})


class RunCancelView(RunsView):
    """Ends one run."""

    permissions_by_method: ClassVar = {"POST": (READ_RUNS, STEER_RUNS)}

    @schema.describe(
        operation_id="sync_runs:cancel",
        parameters=[schema.RUN_ID],
        request=None,
        responses=schema.answer(schema.Run, 401, 403, 404, 409, 422),
    )
    def post(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Cancel a running run: it ends as failed with the reason `cancelled`; 409 where it has ended."""
        run = self.find_run(request, kwargs["id"])
        if not cancel_run(run.pk, by=request.user.get_username()):
            raise ConflictError("RunEnded", f"Run {run.pk} has ended already.", run=run.pk)
        return Response(show_run(self.get_rows(request).get(pk=run.pk)))


def show_run(run: SyncRun) -> dict[str, Any]:
    """A run as JSON: counts of customers, times of the database's clock."""
    times = {name: getattr(run, name) for name in _TIMES}
    return {
        "id": run.pk,
        "organization": run.organization.name,
        "status": run.status,
        "reason": run.reason,
        "detail": run.detail,
        **{name: format_instant(at) if at else None for name, at in times.items()},
        **{name: getattr(run, name) for name in _NUMBERS},
    }


def _read_start(request: Request) -> tuple[str, bool]:
    fields = read_fields(request) if has_body(request) else {}
    name, is_allowed = fields.pop("organization", None), fields.pop("is_mass_deletion_allowed", False)
    for unknown, value in fields.items():
        raise RequestValidationError.of_value(
            "extra_forbidden", ("body", unknown), "Extra inputs are not permitted", value
        )
    if not isinstance(is_allowed, bool):
        message = "Input should be a valid boolean"
        raise RequestValidationError.of_value("bool_type", ("body", "is_mass_deletion_allowed"), message, is_allowed)
    visible = get_visible_names(request)
    known = [one for one in settings.organizations if visible is None or one in visible]
    if name is None and len(known) == 1:
        return known[0], is_allowed
    if isinstance(name, str) and name in known:
        return name, is_allowed
    message = "Name an organization of the settings that you may see."
    raise RequestValidationError.of_value("value_error", ("body", "organization"), message, name)


def _queue(run_id: int) -> None:
    """One message: its worker calls the others once it knows how much there is to do."""
    try:
        tasks.sync_pages.delay(run_id)
    except OperationalError:
        sync.let_go(run_id)
        detail = f"Run {run_id} was made, but the message broker does not answer. It is continued when it does."
        raise ApiError(503, {"error": "BrokerUnavailable", "detail": detail}) from None


class StatusView(PolarView):
    """Every organization's state of affairs."""

    permissions_by_method: ClassVar = {"GET": (READ_RUNS,)}
    parameters = frozenset({"stale_after"})

    @schema.describe(
        operation_id="sync:status",
        parameters=[schema.STALE_AFTER],
        responses=schema.answer(schema.StatusList, 401, 403, 422),
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
    last, complete_as_of, told_until = (
        organization.last_succeeded_at,
        organization.complete_as_of,
        organization.told_until,
    )
    living, stale = counts
    return {
        "organization": organization.name,
        "organization_id": str(organization.polar_id) if organization.polar_id else None,
        "last_succeeded_at": format_instant(last) if last else None,
        "age_seconds": round((now - last).total_seconds(), 3) if last else None,
        "complete_as_of": format_instant(complete_as_of) if complete_as_of else None,
        "told_until": format_instant(told_until) if told_until else None,
        "webhook_problem": _get_problem(organization),
        "customers": living,
        "stale_customers": stale,
        "failed_customers": run.failed if run else 0,
        "last_run": _describe_run(run) if run else None,
    }


def _get_problem(organization: Organization) -> str | None:
    """What keeps webhooks from telling what changes; null where nothing is known to."""
    feed = WebhookFeed.objects.filter(organization=organization).first()
    return (feed.problem or None) if feed is not None else None


def _describe_run(run: SyncRun) -> dict[str, Any]:
    ended = format_instant(run.finished_at) if run.finished_at else None
    return {"id": run.pk, "status": run.status, "reason": run.reason, "finished_at": ended, "failed": run.failed}
