"""Runs of the synchronization: looked at, started, cancelled."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.urls import reverse
from kombu.exceptions import OperationalError
from rest_framework.request import Request
from rest_framework.response import Response

from polar_sync import sync, tasks
from polar_sync.conf import settings
from polar_sync.models import SyncRun
from polar_sync.rest import documents
from polar_sync.rest.details import read_positive
from polar_sync.rest.errors import ApiError, refuse_conflict, refuse_missing, refuse_value
from polar_sync.rest.filters import RunFilterSet
from polar_sync.rest.formats import has_body, read_fields
from polar_sync.rest.freshness import format_instant
from polar_sync.rest.listing import Sorting, get_page, read_listing
from polar_sync.rest.organizations import filter_organizations, get_visible_names
from polar_sync.rest.permissions import READ_RUNS, STEER_RUNS
from polar_sync.rest.views.base import PolarAskingView
from polar_sync.sync.steering import cancel_run

SORTING = Sorting(("id",), default=("-id",))
_PARAMETERS = frozenset({"page", "limit"})
_NUMBERS = ("listed", "created", "updated", "unchanged", "stale", "deleted", "failed", "requests", "throttled_seconds")
_TIMES = ("started_at", "heartbeat_at", "finished_at")
_MAX_ID = 2**63 - 1


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
            raise refuse_missing()
        return run


class RunListView(RunsView):
    """All runs, and a new one."""

    def is_known_parameter(self, name: str) -> bool:
        """Filters and paging."""
        return name in _PARAMETERS or RunFilterSet.is_known(name) or super().is_known_parameter(name)

    @documents.describe(
        operation_id="sync_runs:list",
        parameters=[*documents.PAGING, *documents.RUN_FILTERS],
        responses=documents.answer(documents.RunList, 401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List runs, the latest first."""
        page = get_page(RunFilterSet.narrow(self.get_rows(request), request), read_listing(request, SORTING))
        return Response({"items": [show_run(run) for run in page.rows], "pagination": page.pagination})

    @documents.describe(
        operation_id="sync_runs:start",
        request=documents.RunStart,
        responses=documents.answer(documents.Run, 401, 403, 409, 422, 503, status=202),
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

    @documents.describe(
        operation_id="sync_runs:get",
        parameters=[documents.RUN_ID],
        responses=documents.answer(documents.Run, 401, 403, 404, 422),
    )
    def get(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Get a run with the customers that failed, up to 1,000 of them."""
        run = self.find_run(request, kwargs["id"])
        failures = run.failures.order_by("pk").values("customer_id", "reason")[:1000]
        return Response({**show_run(run), "failures": list(failures)})


class RunCancelView(RunsView):
    """Ends one run."""

    permissions_by_method: ClassVar = {"POST": (READ_RUNS, STEER_RUNS)}

    @documents.describe(
        operation_id="sync_runs:cancel",
        parameters=[documents.RUN_ID],
        request=None,
        responses=documents.answer(documents.Run, 401, 403, 404, 409, 422),
    )
    def post(self, request: Request, **kwargs: str) -> HttpResponseBase:
        """Cancel a running run: it ends as failed with the reason `cancelled`; 409 where it has ended."""
        run = self.find_run(request, kwargs["id"])
        if not cancel_run(run.pk, by=request.user.get_username()):
            raise refuse_conflict("RunEnded", f"Run {run.pk} has ended already.", run=run.pk)
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
        raise refuse_value("extra_forbidden", ("body", unknown), "Extra inputs are not permitted", value)
    if not isinstance(is_allowed, bool):
        message = "Input should be a valid boolean"
        raise refuse_value("bool_type", ("body", "is_mass_deletion_allowed"), message, is_allowed)
    visible = get_visible_names(request)
    known = [one for one in settings.organizations if visible is None or one in visible]
    if name is None and len(known) == 1:
        return known[0], is_allowed
    if isinstance(name, str) and name in known:
        return name, is_allowed
    message = "Name an organization of the settings that you may see."
    raise refuse_value("value_error", ("body", "organization"), message, name)


def _queue(run_id: int) -> None:
    """One message: its worker calls the others once it knows how much there is to do."""
    try:
        tasks.sync_pages.delay(run_id)
    except OperationalError:
        sync.let_go(run_id)
        detail = f"Run {run_id} was made, but the message broker does not answer. It is continued when it does."
        raise ApiError(503, {"error": "BrokerUnavailable", "detail": detail}) from None
