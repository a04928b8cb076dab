"""Which Django user a customer is: the one whose primary key is the customer's external id."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch, reverse

from polar_sync.models import Customer


def find_user(customer: Customer) -> Any | None:
    """The user, or None. Never by email: anybody can give Polar somebody else's."""
    if not customer.external_id:
        return None
    try:
        user = get_user_model()._default_manager.filter(pk=customer.external_id).first()  # noqa: SLF001 - Django's name
    except (ValueError, ValidationError, OverflowError):
        return None
    return user if user is not None and str(user.pk) == customer.external_id else None


def get_user_url(user: Any, *, site_name: str) -> str | None:
    """The user's page in the admin, None where there is none."""
    options = user._meta  # noqa: SLF001 - Django's public name for it
    try:
        return reverse(f"{site_name}:{options.app_label}_{options.model_name}_change", args=(user.pk,))
    except NoReverseMatch:
        return None
