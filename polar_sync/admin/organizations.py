"""Organizations: what the names of the settings stand for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.formatting import NOTHING, PAGE_LENGTH, show, show_id, show_label, show_time
from polar_sync.admin.notices import get_feed, show_examples, show_verification
from polar_sync.admin.runs import OrganizationActionsMixin
from polar_sync.models import Organization

_FEED = ("endpoint", "endpoint_state", "endpoint_problem", "checked", "all_read", "failed_read", "finished", "gap")


class FeedFields:
    """Whether Polar sends deliveries, and how far its list of them was read."""

    @admin.display(description=gettext_lazy("address"))
    def endpoint(self, organization: Organization) -> SafeString:
        """Without what may be secret in it."""
        feed = get_feed(organization)
        return show(_remove_secrets(feed.endpoint_url) if feed is not None else None, length=200)

    @admin.display(description=gettext_lazy("enabled"))
    def endpoint_state(self, organization: Organization) -> SafeString:
        """As Polar said when it was last asked."""
        feed = get_feed(organization)
        if feed is None or feed.is_enabled is None:
            return NOTHING
        return show_label(_("Yes"), tone="good") if feed.is_enabled else show_label(_("No"), tone="bad")

    @admin.display(description=gettext_lazy("problem"))
    def endpoint_problem(self, organization: Organization) -> SafeString:
        """Whole, up to a page."""
        feed = get_feed(organization)
        return show(feed.problem if feed is not None else None, length=PAGE_LENGTH)

    @admin.display(description=gettext_lazy("checked"))
    def checked(self, organization: Organization) -> SafeString:
        """When Polar was last asked about the endpoint, on our clock."""
        return _show_time(organization, "checked_at")

    @admin.display(description=gettext_lazy("all deliveries read until"))
    def all_read(self, organization: Organization) -> SafeString:
        return _show_time(organization, "all_read_until")

    @admin.display(description=gettext_lazy("failed deliveries read until"))
    def failed_read(self, organization: Organization) -> SafeString:
        return _show_time(organization, "failed_read_until")

    @admin.display(description=gettext_lazy("list last read"))
    def finished(self, organization: Organization) -> SafeString:
        """To its end, on our clock."""
        return _show_time(organization, "finished_at")

    @admin.display(description=gettext_lazy("changes without events"))
    def gap(self, organization: Organization) -> SafeString:
        """When there may have been some that no run has found since."""
        feed = get_feed(organization)
        if feed is None or feed.gap_since is None or feed.is_gap_closed(organization.complete_as_of):
            return NOTHING
        if feed.gap_until is None:
            return format_html("{} {}", _("since"), show_time(feed.gap_since))
        return format_html("{} – {}", show_time(feed.gap_since), show_time(feed.gap_until))


def _show_time(organization: Organization, name: str) -> SafeString:
    feed = get_feed(organization)
    return show_time(getattr(feed, name)) if feed is not None else NOTHING


def _remove_secrets(url: str) -> str:
    """Without user, password, parameters and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@admin.register(Organization)
class OrganizationAdmin(FeedFields, OrganizationActionsMixin, ReadOnlyAdmin):
    """The organizations that are mirrored, and how fresh each is."""

    list_display = ("label", "own_id", "server_text", "succeeded", "complete", "verified")
    list_select_related = ("verification",)
    fieldsets = (
        (None, {"fields": (*list_display[:-1], "told", "verified", "differences")}),
        (gettext_lazy("Webhook endpoint"), {"fields": _FEED}),
    )
    readonly_fields = (*list_display[:-1], "told", "verified", "differences", *_FEED)
    change_form_template = "admin/polar_sync/organization/change_form.html"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        name = f"{self.admin_site.name}:polar_sync_organization_sync"
        context["polar_may_sync"] = self.has_sync_permission(request)
        context["polar_sync_url"] = reverse(name, args=(context["original"].pk,))
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def label(self, organization: Organization) -> SafeString:
        """As the settings name it."""
        return show(organization.name, length=200)

    @admin.display(description=gettext_lazy("Polar id"))
    def own_id(self, organization: Organization) -> SafeString:
        """To be looked up elsewhere; a dash until Polar has told it."""
        return show_id(organization.polar_id)

    @admin.display(description=gettext_lazy("server"))
    def server_text(self, organization: Organization) -> SafeString:
        """Polar's production or sandbox, or an address."""
        return show(organization.server, length=200)

    @admin.display(description=gettext_lazy("last succeeded"), ordering="last_succeeded_at")
    def succeeded(self, organization: Organization) -> SafeString:
        """When a run last ended with everything mirrored."""
        return show_time(organization.last_succeeded_at)

    @admin.display(description=gettext_lazy("complete as of"))
    def complete(self, organization: Organization) -> SafeString:
        """When, on Polar's clock, the last run that succeeded began."""
        return show_time(organization.complete_as_of)

    @admin.display(description=gettext_lazy("told until"))
    def told(self, organization: Organization) -> SafeString:
        """Until when what Polar reported is mirrored."""
        return show_time(organization.told_until)

    @admin.display(description=gettext_lazy("last verification"))
    def verified(self, organization: Organization) -> SafeString:
        """What `polar_sync_verify` last found."""
        return show_verification(organization)

    @admin.display(description=gettext_lazy("what differed"))
    def differences(self, organization: Organization) -> SafeString:
        """Some of it, without what tells of a person."""
        return show_examples(organization)
