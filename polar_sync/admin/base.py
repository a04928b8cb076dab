"""What all pages on the mirror have in common: they show, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.forms import CheckboxInput
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from polar_sync.admin.change_lists import BoundedPaginator, Count, IndexedChangeList, is_comparison
from polar_sync.admin.display_names import NOTES
from polar_sync.admin.formatting import clean

if TYPE_CHECKING:  # Django's own classes take no type arguments when they run
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    InlineFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    ModelAdmin, TabularInline, InlineFormSet = admin.ModelAdmin, admin.TabularInline, BaseInlineFormSet

MayView: TypeAlias = Callable[[str], bool]
"""Whether the one who asks may view rows of a model."""
SYNC_PERMISSION = "polar_sync.sync_organization"
EXPORT_PERMISSION = "polar_sync.export_customers"
PROCESS_PERMISSION = "polar_sync.process_webhookdelivery"
TITLE_LENGTH = 120
MAX_INLINE_ROWS = 20
"""Rows that a table of a customer's page shows; a link leads to the rest."""


def may_view(user: Any, model: str) -> bool:
    """Whether this user may view rows of a model, by its name in lower case."""
    return bool(user.has_perm(f"polar_sync.view_{model}"))


class ReadOnlyAdminMixin:
    """Adding, changing and deleting are off: the mirror follows Polar, and what is written here would be undone."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never; viewing has a permission of its own."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnlyAdminMixin, ModelAdmin):
    """A page on one kind of mirrored object, at any number of rows."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the whole table
    paginator = BoundedPaginator
    list_max_show_all = 0
    change_form_template = "admin/polar_sync/change_form.html"
    change_list_template = "admin/polar_sync/change_list.html"
    object_history_template = "admin/polar_sync/object_history.html"

    class Media:
        css = {"all": ("polar_sync/admin.css",)}  # noqa: RUF012 - Django's way

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[IndexedChangeList]:
        """In orders that indexes have."""
        return IndexedChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Columns may be compared with a value, and nothing else; what is not allowed is answered with 400."""
        return super().lookup_allowed(lookup, value, request) and is_comparison(self.model, lookup)

    def has_sync_permission(self, request: HttpRequest) -> bool:
        """Whether this person may steer the mirror."""
        return bool(request.user.has_perm(SYNC_PERMISSION))

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Whether this person may take customers out of here."""
        return bool(request.user.has_perm(EXPORT_PERMISSION))

    @admin.display(description=mark_safe('<input type="checkbox" id="action-toggle">'))
    def action_checkbox(self, obj: Any) -> SafeString:
        """Django's, with the name of the row made harmless."""
        label = _("Select for an action: %(name)s") % {"name": clean(obj)}
        box = CheckboxInput({"class": "action-select", "aria-label": label}, lambda _value: False)
        return box.render(ACTION_CHECKBOX_NAME, str(obj.pk))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Titled by what it lists: there is nothing to select and change."""
        return super().changelist_view(request, {"title": self._name_all(), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say who it is in the title without letting the name do anything else."""
        original = context.get("original")
        context["subtitle"] = context["polar_title"] = self.get_title(original)
        context["title"] = capfirst(self.opts.verbose_name)
        return super().render_change_form(request, context, *args, **kwargs)

    def _name_all(self) -> str:
        return capfirst(str(self.opts.verbose_name_plural))

    def get_title(self, original: Any) -> str:
        """What the tab and the breadcrumbs call it."""
        return clean(original, length=TITLE_LENGTH)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What staff asked for, under a name that does no harm."""
        original = self.get_object(request, object_id)
        harmless: dict[str, Any] = {}
        if original is not None and self.has_view_permission(request, original):
            title = self.get_title(original)
            harmless = {"title": _("Change history: %s") % title, "object": Harmless(title, original.pk)}
        answer = super().history_view(request, object_id, {**harmless, **(extra_context or {})})
        context = getattr(answer, "context_data", None) or {}  # none where there is no such object
        for entry in context.get("action_list", ()):
            entry.change_message = str(NOTES.get(entry.change_message, entry.change_message))
        return answer


class Harmless(str):
    """A name with the key of the object that bears it, for templates that show the one and link by the other."""

    def __new__(cls, name: str, pk: Any) -> Self:
        """The name, as text."""
        made = super().__new__(cls, name)
        made.pk = pk
        return made

    pk: Any


class PrefetchedFormSet(InlineFormSet):
    """Rows that the page has fetched already, with all that they show."""

    def get_all(self) -> Any:
        """Those of the object shown, from its prefetch."""
        return getattr(self.instance, self.fk.remote_field.get_accessor_name()).all()

    def get_queryset(self) -> Any:
        """The first of them; the list of their kind has all."""
        return self.get_all()[:MAX_INLINE_ROWS]

    def count_all(self) -> int:
        """How many there are."""
        return Count(len(self.get_all()))


class ReadOnlyInline(ReadOnlyAdminMixin, TabularInline):
    """A table of objects that belong to the one shown. The page's admin prefetches them."""

    extra = 0
    formset = PrefetchedFormSet
    template = "admin/polar_sync/inline.html"
