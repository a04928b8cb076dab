"""Organizations: what the names of the settings stand for."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.formatting import show, show_id, show_time
from polar_sync.admin.notices import show_examples, show_verification
from polar_sync.admin.runs import OrganizationActionsMixin
from polar_sync.models import Organization


@admin.register(Organization)
class OrganizationAdmin(OrganizationActionsMixin, ReadOnlyAdmin):
    """The organizations that are mirrored, and how fresh each is."""

    list_display = ("label", "own_id", "server_text", "succeeded", "verified")
    list_select_related = ("verification",)
    fields = (*list_display, "differences")
    readonly_fields = fields
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

    @admin.display(description=gettext_lazy("last verification"))
    def verified(self, organization: Organization) -> SafeString:
        """What `polar_sync_verify` last found."""
        return show_verification(organization)

    @admin.display(description=gettext_lazy("what differed"))
    def differences(self, organization: Organization) -> SafeString:
        """Some of it, without what tells of a person."""
        return show_examples(organization)
