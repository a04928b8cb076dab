"""Runs: is the mirror fresh, and what failed?"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.display_names import RUN_STATUSES
from polar_sync.admin.filters import Filter
from polar_sync.admin.labels import format_number, format_share, show_code, show_number, show_time
from polar_sync.admin.run_page import (
    build_parts,
    format_duration,
    format_seconds,
    get_share,
    show_reason,
)
from polar_sync.admin.run_steering import RunSteeringMixin
from polar_sync.admin.text import NOTHING, clean, show
from polar_sync.models import Organization, SyncRun


class RunStatusFilter(Filter):
    """By how it ended, or that it runs."""

    title = gettext_lazy("status")
    parameter_name = "status"
    names = RUN_STATUSES


@admin.register(SyncRun)
class SyncRunAdmin(RunSteeringMixin, ReadOnlyAdmin):
    """What each run came to, and a page that follows one while it goes."""

    list_display = (
        "number",
        "status_label",
        "progress",
        "listed",
        "changes",
        "failures",
        "requests_used",
        "started",
        "duration",
    )
    list_filter = (("organization", admin.RelatedOnlyFieldListFilter), RunStatusFilter)
    list_select_related = ("organization",)
    list_per_page = 50
    ordering = ("-id",)
    fields = ()
    change_form_template = "admin/polar_sync/syncrun/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        """Beside Django's own: what the page asks for again and again."""
        view = self.admin_site.admin_view(self.live_view)
        return [path("<int:pk>/live.json", view, name="polar_sync_syncrun_live"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the organization's name, which every page on a run shows."""
        return super().get_queryset(request).select_related("organization")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """The parts as they are now; the page's script keeps them so."""
        run: SyncRun = context["original"]
        context |= {
            "polar_parts": self._build_parts(request, run),
            "polar_is_live": run.is_running or "retrying" in request.GET,
            "polar_live_url": reverse(f"{self.admin_site.name}:polar_sync_syncrun_live", args=(run.pk,)),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_title(self, original: Any) -> str:
        """Without the status, which changes while the page is open."""
        names = {"number": original.pk, "organization": clean(original.organization)}
        return _("Run #%(number)s of %(organization)s") % names

    def live_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        """The parts as they are now; never waits for anything."""
        if not self.has_view_permission(request):
            raise Http404
        run = self.get_queryset(request).filter(pk=pk).first()
        if run is None:
            raise Http404
        return JsonResponse(
            {"is_running": run.is_running, "parts": self._build_parts(request, run)},
            headers={"Cache-Control": "no-store"},
        )

    def _build_parts(self, request: HttpRequest, run: SyncRun) -> dict[str, str]:
        may_sync = self.has_sync_permission(request)
        may_begin = self.admin_site.get_model_admin(Organization).has_view_permission(request)
        return build_parts(request, run, site_name=self.admin_site.name, may_sync=may_sync, may_begin=may_begin)

    @admin.display(description=gettext_lazy("run"), ordering="id")
    def number(self, run: SyncRun) -> SafeString:
        """As the command and the log name it, with the organization below."""
        return format_html('#{}<span class="polar-below">{}</span>', run.pk, show(run.organization))

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def status_label(self, run: SyncRun) -> SafeString:
        """With the reason, where there is one."""
        label = show_code(run.status)
        return format_html('{}<span class="polar-below">{}</span>', label, show_reason(run)) if run.reason else label

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, run: SyncRun) -> SafeString:
        """A bar with the share in words."""
        share = get_share(run)
        if share is None:
            return NOTHING
        text = format_share(share)
        return format_html(
            '<span class="polar-share"><progress max="1" value="{}">{}</progress> {}</span>', f"{share:.3f}", text, text
        )

    @admin.display(description=gettext_lazy("customers"))
    def listed(self, run: SyncRun) -> SafeString:
        """Accounted for."""
        return show_number(run.listed)

    @admin.display(description=gettext_lazy("changes"))
    def changes(self, run: SyncRun) -> SafeString:
        """Created, updated and deleted; a dash where nothing changed."""
        parts = [
            ("+", run.created, pgettext("customers that a run", "created")),
            ("~", run.updated, _("updated")),
            ("−", run.deleted, _("deleted")),
        ]
        marks = ((name, sign, format_number(number), name) for sign, number, name in parts if number)
        mark = '<bdi dir="ltr" title="{}">{}{}<span class="polar-hidden"> {}</span></bdi>'
        return format_html_join(" ", mark, marks) or NOTHING

    @admin.display(description=gettext_lazy("failed"), ordering="failed")
    def failures(self, run: SyncRun) -> SafeString:
        """Customers that could not be mirrored."""
        return show_number(run.failed, tone="bad") if run.failed else NOTHING

    @admin.display(description=gettext_lazy("requests"), ordering="requests")
    def requests_used(self, run: SyncRun) -> SafeString:
        """Sent to Polar, and how long workers waited for the budget of them."""
        number = show_number(run.requests)
        if run.throttled_seconds < 1:
            return number
        waited = _("throttled %(time)s") % {"time": format_seconds(run.throttled_seconds)}
        return format_html('{}<span class="polar-below">{}</span>', number, waited)

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def started(self, run: SyncRun) -> SafeString:
        """When."""
        return show_time(run.started_at)

    @admin.display(description=gettext_lazy("took"))
    def duration(self, run: SyncRun) -> str:
        """Until its end, or until now."""
        return format_duration(run)
