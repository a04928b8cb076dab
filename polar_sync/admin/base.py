"""What all pages on the mirror have in common: they show, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:  # Django's own classes take no type arguments when they run
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class ReadOnlyAdminMixin:
    """Adding, changing and deleting are off: the mirror follows Polar, and what is written here would be undone."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Never."""
        del request, args
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never; viewing has a permission of its own."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        del request, obj
        return False


class ReadOnlyAdmin(ReadOnlyAdminMixin, ModelAdmin):
    """A page on one kind of mirrored object."""


class ReadOnlyInline(ReadOnlyAdminMixin, TabularInline):
    """A table of objects that belong to the one shown."""

    extra = 0
