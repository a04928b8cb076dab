"""What a person may do about runs: start, continue and cancel them, and have their failed customers asked for again."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from polar_sync import sync
from polar_sync.admin.base import ModelAdmin
from polar_sync.admin.handover import hand_over, note, redirect, steering_view, tell_misconfigured
from polar_sync.admin.run_page import has_failures_left
from polar_sync.admin.text import clean
from polar_sync.conf import settings
from polar_sync.exceptions import ConfigurationError, RunActiveError
from polar_sync.models import Organization, SyncRun
from polar_sync.sync.steering import cancel_run
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
    hand_over(request, sync_pages, run.pk, message=message, times=workers)
    return redirect(get_run_url(run.pk, site_name=site_name))


def get_run_url(run_id: int | None, *, site_name: str) -> str:
    """The run's page."""
    return reverse(f"{site_name}:polar_sync_syncrun_change", args=(run_id,))


class OrganizationSteeringMixin(ModelAdmin):
    """The button that starts a run."""

    def get_urls(self) -> list[URLPattern]:
        """Beside Django's own."""
        view = self.admin_site.admin_view(self.sync_view)
        return [path("<int:pk>/sync/", view, name="polar_sync_organization_sync"), *super().get_urls()]

    @steering_view
    def sync_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Sync now."""
        organization = Organization.objects.filter(pk=pk).first()
        if organization is None:
            raise Http404
        note(request, [organization], "Sync now")
        fallback = reverse(f"{self.admin_site.name}:polar_sync_organization_changelist")
        return begin(request, organization, site_name=self.admin_site.name, fallback=fallback)


class RunSteeringMixin(ModelAdmin):
    """The buttons on a run's page."""

    def get_urls(self) -> list[URLPattern]:
        """Beside Django's own."""
        views = {"resume": self.resume_view, "cancel": self.cancel_view, "retry": self.retry_view}
        wrap = self.admin_site.admin_view
        return [
            *(path(f"<int:pk>/{verb}/", wrap(view), name=f"polar_sync_syncrun_{verb}") for verb, view in views.items()),
            *super().get_urls(),
        ]

    @steering_view
    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have an abandoned run continued, or, where it is too old for that, a new one started."""
        run = self._get_run(pk)
        url = get_run_url(pk, site_name=self.admin_site.name)
        if not run.is_running:
            messages.warning(request, _("The run has ended already; there is nothing to resume."))
            return redirect(url)
        note(request, [run], "Resume")
        return begin(request, run.organization, site_name=self.admin_site.name, fallback=url)

    @steering_view
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

    @steering_view
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
        hand_over(request, retry_failures, pk, message=text)
        return redirect(f"{url}?retrying=1")

    def _get_run(self, pk: int) -> SyncRun:
        run: Any = SyncRun.objects.select_related("organization").filter(pk=pk).first()
        if run is None:
            raise Http404
        return run  # type: ignore[no-any-return]
