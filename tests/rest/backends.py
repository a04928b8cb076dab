"""Authentication backends and classes that tests name in the settings, as projects write them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.core.exceptions import PermissionDenied
from rest_framework.request import Request

from polar_sync.rest.authentication import BearerAuthentication


class AskedBackend(ModelBackend):
    """Django's own rules, from a class that is not Django's own."""


class NameBackend(BaseBackend):
    """Whoever is called so may read."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return bool(user_obj.get_username() == "reader" and perm == "polar_sync.view_customer")


class RefusingBackend(BaseBackend):
    """Nobody may read, whatever a later backend says."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        raise PermissionDenied


class ActingAuthentication(BearerAuthentication):
    """Whoever has a token acts as the user whom a header names."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user, token = found
        return type(user).objects.get(username=request.headers["X-Acts-As"]), token
