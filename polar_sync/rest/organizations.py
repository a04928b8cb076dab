"""Whose data a caller may see: all organizations, or those that the project's own function names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string
from rest_framework.request import Request

from polar_sync.conf import OrganizationSettings, settings
from polar_sync.models import Organization
from polar_sync.rest.errors import refuse_value

M = TypeVar("M", bound=Model)
Resolver = Callable[[Request], Iterable[str] | None]


def get_visible_names(request: Request) -> frozenset[str] | None:
    """The names of the organizations that this caller may see, None for all."""
    path = settings.rest_organization_resolver
    if path is None:
        return None
    names = cast("Resolver", import_string(path))(request)
    return None if names is None else frozenset(names)


def filter_organizations(request: Request) -> QuerySet[Organization]:
    """The organizations that this caller may see."""
    names = get_visible_names(request)
    return Organization.objects.all() if names is None else Organization.objects.filter(name__in=names)


def filter_visible(rows: QuerySet[M], request: Request, *, field: str = "organization_id") -> QuerySet[M]:
    """Those of the rows whose `field`, Polar's id of an organization, is one that this caller may see."""
    if get_visible_names(request) is None:
        return rows
    ids: list[UUID] = list(
        filter_organizations(request).exclude(polar_id=None).values_list("polar_id", flat=True)  # type: ignore[arg-type]
    )
    # One id compared by equality is what lets an index over organization and time give the order too.
    return rows.filter(**({field: ids[0]} if len(ids) == 1 else {f"{field}__in": ids}))


def choose_organization(request: Request, polar_id: UUID | None) -> OrganizationSettings:
    """The organization that is written to: the one with that id, or the only one there is.

    Raises 422 where that is none, or not one alone.
    """
    names = get_visible_names(request)
    known = [name for name in settings.organizations if names is None or name in names]
    if polar_id is not None:
        known = list(Organization.objects.filter(name__in=known, polar_id=polar_id).values_list("name", flat=True))
    if len(known) == 1:
        return settings.get_organization(known[0])
    message = (
        "No organization that you may write to has this id."
        if polar_id is not None or not known
        else "There are several organizations; say which one is meant."
    )
    raise refuse_value("value_error", ("body", "organization_id"), message, str(polar_id) if polar_id else None)
