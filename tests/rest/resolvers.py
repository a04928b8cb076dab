"""Functions that tests name in the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.request import Request

from polar_sync.models import Customer


def see_nothing(request: Request) -> Iterable[str]:
    return []


def see_shop(request: Request) -> Iterable[str]:
    return ["shop"]


def see_by_username(request: Request) -> Iterable[str] | None:
    return None if request.user.is_superuser else [request.user.get_username()]


def find_by_username(user: Any) -> Customer | None:
    found: Customer | None = Customer.objects.filter(external_id=user.username).first()
    return found


def find_nobody(user: Any) -> Customer | None:
    return None


def fail(request: Request) -> Iterable[str]:
    raise RuntimeError("a secret of the project")
