"""The fields of a customer as Polar fills, derives and scrubs them."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Any

from polar_sync.testing.store import CHILDREN
from polar_sync.testing.wire import format_timestamp


def build_defaults(given: dict[str, Any], *, customer_id: str, organization_id: str, now: datetime) -> dict[str, Any]:
    """A whole new customer in Polar's order of fields; `given` decides what depends on other fields."""
    own_id = given.get("id", customer_id)
    unique = f"customer-{str(own_id)[:8]}@example.com"
    email = given.get("email", None if given.get("type") == "team" else unique)
    return {
        "id": own_id,
        "created_at": format_timestamp(now),
        "modified_at": None,
        "metadata": {},
        "external_id": None,
        "email": email,
        "email_verified": False,
        "type": "individual",
        "name": None,
        "billing_name": given.get("name"),
        "billing_address": None,
        "tax_id": None,
        "locale": None,
        "organization_id": organization_id,
        "default_payment_method_id": None,
        "deleted_at": None,
        "first_user_event_at": None,
        "avatar_url": build_avatar_url(email),
    }


def to_plain(value: Any) -> Any:
    """Ids and instants as their JSON text; everything else as it is."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return format_timestamp(value)
    return value


def strip_children(state: dict[str, Any]) -> dict[str, Any]:
    """A state without its three arrays: the customer."""
    return {name: value for name, value in state.items() if name not in CHILDREN}


def build_avatar_url(email: Any) -> str | None:
    """The Gravatar that Polar gives a customer with an email."""
    if not isinstance(email, str):
        return None
    digest = hashlib.sha256(email.lower().encode("utf-8", "replace")).hexdigest()
    return f"https://www.gravatar.com/avatar/{digest}?d=404"


def scrub_customer(customer: dict[str, Any]) -> dict[str, Any]:
    """The fields that `anonymize=true` replaces; the name of a business with a tax id stays."""
    email = customer.get("email")
    scrubbed: dict[str, Any] = {"billing_address": None, "avatar_url": None, "metadata": {}}
    if isinstance(email, str):
        scrubbed["email"] = f"{_hash(email)}@anonymized.example"
    if not customer.get("tax_id"):
        names = ("name", "billing_name")
        scrubbed |= {name: _hash(value) for name in names if isinstance(value := customer.get(name), str)}
    return scrubbed


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
