"""Runs: is the mirror fresh, what failed, and what a person may do about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from polar_sync import sync
from polar_sync.admin.actions import action_view, enqueue, note, redirect, tell_misconfigured
from polar_sync.admin.base import SYNC_PERMISSION, ModelAdmin, ReadOnlyAdmin
from polar_sync.admin.display_names import RUN_STATUSES
from polar_sync.admin.filters import Filter
from polar_sync.admin.formatting import (
    NOTHING,
    clean,
    format_number,
    format_seconds,
    format_share,
    show,
    show_code,
    show_number,
    show_time,
)
from polar_sync.admin.run_page import (
    build_parts,
    format_duration,
    get_share,
    has_failures_left,
    show_reason,
)
from polar_sync.conf import settings
from polar_sync.exceptions import ConfigurationError, RunActiveError
from polar_sync.models import Organization, SyncRun
from polar_sync.sync.runs import cancel_run
from polar_sync.tasks import retry_failures, sync_pages

MASS_DELETION = "allow_mass_deletion"
"""The name of the box that must be ticked for a run that may mark many deleted."""


def begin(request: HttpRequest, organization: Organization, *, site_name: str, fallback: str) -> HttpResponse:
    """Start a run or continue an abandoned one, hand it to the workers, and go to its page.

    The row is made here so that there is a page to go to; every request to Polar is the workers'.
    """
    try:
        given = settings.get_organization(organization.name)
        workers = settings.workers
        run = sync.begin_run(given, is_mass_deletion_allowed=bool(request.POST.get(MASS_DELETION)))
    except ConfigurationError as error:
        tell_misconfigured(request, error)
        return redirect(fallback)
    except RunActiveError as error:
        messages.warning(request, _("A run is active already: this is it. Nothing was started."))
        return redirect(get_run_url(error.run_id, site_name=site_name))
    message = _("Run %(run)s of %(organization)s is handed to the workers; this page follows it.")
    message %= {"run": run.pk, "organization": clean(organization)}
    enqueue(request, sync_pages, run.pk, message=message, times=workers)
    return redirect(get_run_url(run.pk, site_name=site_name))


def get_run_url(run_id: int | None, *, site_name: str) -> str:
    """The run's page."""
    return reverse(f"{site_name}:polar_sync_syncrun_change", args=(run_id,))


class OrganizationActionsMixin(ModelAdmin):
    """The button that starts a run."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.sync_view)
        return [path("<int:pk>/sync/", view, name="polar_sync_organization_sync"), *super().get_urls()]

    @action_view(SYNC_PERMISSION)
    def sync_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        organization = Organization.objects.filter(pk=pk).first()
        if organization is None:
            raise Http404
        note(request, [organization], "Sync now")
        fallback = reverse(f"{self.admin_site.name}:polar_sync_organization_changelist")
        return begin(request, organization, site_name=self.admin_site.name, fallback=fallback)


class RunActionsMixin(ModelAdmin):
    """The buttons on a run's page."""

    def get_urls(self) -> list[URLPattern]:
        views = {"resume": self.resume_view, "cancel": self.cancel_view, "retry": self.retry_view}
        wrap = self.admin_site.admin_view
        return [
            *(path(f"<int:pk>/{verb}/", wrap(view), name=f"polar_sync_syncrun_{verb}") for verb, view in views.items()),
            *super().get_urls(),
        ]

    @action_view(SYNC_PERMISSION)
    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have an abandoned run continued, or, where it is too old for that, a new one started."""
        run = self._get_run(pk)
        url = get_run_url(pk, site_name=self.admin_site.name)
        if not run.is_running:
            messages.warning(request, _("The run has ended already; there is nothing to resume."))
            return redirect(url)
        note(request, [run], "Resume")
        return begin(request, run.organization, site_name=self.admin_site.name, fallback=url)

    @action_view(SYNC_PERMISSION)
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End a run at once, which needs no worker: those that are on it stop at their next write."""
        run = self._get_run(pk)
        if cancel_run(pk, by=clean(request.user)):
            note(request, [run], "Cancel")
            text = _("The run is cancelled. Its workers stop at their next step; what it had mirrored stays.")
            messages.success(request, text)
        else:
            messages.warning(request, _("The run has ended already; there is nothing to cancel."))
        return redirect(get_run_url(pk, site_name=self.admin_site.name))

    @action_view(SYNC_PERMISSION)
    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have each customer that the run could not mirror asked for again."""
        run = self._get_run(pk)
        url = get_run_url(pk, site_name=self.admin_site.name)
        if not has_failures_left(run):
            messages.warning(request, _("No failed customer of the run is left; there is nothing to retry."))
            return redirect(url)
        try:
            settings.get_organization(run.organization.name)
        except ConfigurationError as error:
            tell_misconfigured(request, error)
            return redirect(url)
        note(request, [run], "Retry failed customers")
        text = _("Workers ask Polar about the failed customers again. Those that are mirrored then are marked here.")
        enqueue(request, retry_failures, pk, message=text)
        return redirect(f"{url}?retrying=1")

    def _get_run(self, pk: int) -> SyncRun:
        run: Any = SyncRun.objects.select_related("organization").filter(pk=pk).first()
        if run is None:
            raise Http404
        return run  # type: ignore[no-any-return]


class RunStatusFilter(Filter):
    """By how it ended, or that it runs."""

    title = gettext_lazy("status")
    parameter_name = "status"
    names = RUN_STATUSES


@admin.register(SyncRun)
class SyncRunAdmin(RunActionsMixin, ReadOnlyAdmin):
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
        return show_time(run.started_at)

    @admin.display(description=gettext_lazy("took"))
    def duration(self, run: SyncRun) -> str:
        """Until its end, or until now."""
        return format_duration(run)
