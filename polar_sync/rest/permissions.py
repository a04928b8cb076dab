"""Who may: Django's permissions, asked for whatever else the settings demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from polar_sync.rest.authentication import SessionToken, has_permissions

if TYPE_CHECKING:
    from rest_framework.views import APIView

READ = "polar_sync.view_customer"
WRITE = "polar_sync.write_customer_to_polar"
READ_RUNS = "polar_sync.view_syncrun"
STEER_RUNS = "polar_sync.sync_organization"


class HasRequiredPermissions(BasePermission):
    """The user has each of Django's permissions that the view names for the method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Asked of the authentication backends, so that a project's own rules count."""
        wanted: tuple[str, ...] = view.get_required_permissions()  # type: ignore[attr-defined]
        return has_permissions(request, wanted)


class IsPortalCustomer(BasePermission):
    """A signed-in user, or whoever shows a customer session token of Polar's."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whose data it is follows from the user or from Polar, never from the request."""
        return isinstance(request.auth, SessionToken) or request.user.is_authenticated
