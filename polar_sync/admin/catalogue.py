"""The names of what an organization sells, grants and measures."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.display_names import get_display_name
from polar_sync.admin.formatting import format_interval, show, show_id, show_label, show_time
from polar_sync.models import Benefit, MeterDefinition, Product


class CatalogueAdmin(ReadOnlyAdmin):
    """Something that has a name and an id."""

    list_display: tuple[str, ...] = ("label", "polar_id", "detail", "archived", "seen")
    fields = ("label", "polar_id", "detail", "archived", "seen")
    readonly_fields = fields
    search_fields = ("name", "=id")
    list_per_page = 100

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def label(self, entry: Any) -> SafeString:
        """Its name, as far as Polar has told it."""
        return show(entry.name, length=200)

    @admin.display(description=gettext_lazy("Polar id"))
    def polar_id(self, entry: Any) -> SafeString:
        """To be looked up elsewhere."""
        return show_id(entry.pk)

    @admin.display(description=gettext_lazy("kind"))
    def detail(self, entry: Any) -> SafeString:
        """What tells it apart from others of its sort: interval, type or unit."""
        interval, count = (getattr(entry, f"recurring_interval{name}", None) for name in ("", "_count"))
        if interval and (count or 1) > 1:
            return show(capfirst(format_interval(interval, count)))
        names = ("recurring_interval", "type", "unit")
        found = next((getattr(entry, name) for name in names if getattr(entry, name, None)), None)
        return show(get_display_name(found) if found else None)

    @admin.display(description=gettext_lazy("archived"))
    def archived(self, entry: Any) -> SafeString:
        """Whether Polar says that it is out of use."""
        return show_label(_("Archived"), tone="warn") if entry.is_archived else show(None)

    @admin.display(description=gettext_lazy("observed"))
    def seen(self, entry: Any) -> SafeString:
        """When Polar last told of it."""
        return show_time(entry.observed_at)


admin.site.register([Product, Benefit, MeterDefinition], CatalogueAdmin)
