"""Creating and updating a customer over HTTP: the rules beyond the schema, then the change."""

from __future__ import annotations

from typing import Any

from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.store import Record
from polar_sync.testing.tax import read_tax_id
from polar_sync.testing.validation import make_detail, normalize_email
from polar_sync.testing.wire import Detail, refuse_values

ADDRESS_FIELDS = ("line1", "line2", "postal_code", "city", "state", "country")


def create_customer(organization: FakeOrganization, fields: dict[str, Any]) -> dict[str, Any]:
    """Create a customer from a checked body; raises the 422 that Polar answers to duplicates and the like."""
    values = dict(fields)
    owner = values.pop("owner", None)
    wrong = _check_organization(values.pop("organization_id", None))
    wrong += _take_email(organization, values, record=None)
    wrong += _check_external_id(organization, values.get("external_id"))
    if values["type"] == "team" and values.get("email") is None:
        values["email"] = None
        if owner is None:
            message = "An owner with an email is required for a team without an email."
            wrong.append(make_detail("value_error", ("body", "owner"), message, None))
    wrong += _take_address_and_tax(values, country=None)
    if wrong:
        raise refuse_values(wrong)
    return organization.create_customer(**values)


def update_customer(organization: FakeOrganization, record: Record, changes: dict[str, Any]) -> None:
    """Change a customer by a checked body; raises the 422 that Polar answers to what may not change."""
    values = dict(changes)
    wrong = _take_type(values, record=record)
    wrong += _take_email(organization, values, record=record)
    if "external_id" in values:
        wrong += _check_external_id_change(organization, values["external_id"], record=record)
    address = record.customer.get("billing_address") or {}
    wrong += _take_address_and_tax(values, country=address.get("country"))
    if wrong:
        raise refuse_values(wrong)
    if any(name not in record.customer or record.customer[name] != value for name, value in values.items()):
        organization.update_customer(record.key, **values)


def _check_organization(organization_id: Any) -> list[Detail]:
    if organization_id is None:
        return []
    message = "Setting organization_id is disallowed when using an organization token."
    return [make_detail("organization_token", ("body", "organization_id"), message, organization_id)]


def _take_email(organization: FakeOrganization, values: dict[str, Any], *, record: Record | None) -> list[Detail]:
    """Normalize the email in `values`; only a team may lose its email."""
    email = values.get("email")
    if email is None:
        if record is not None and record.customer.get("type") != "team":
            values.pop("email", None)
        return []
    values["email"] = normalize_email(email)
    owner = organization.store.find_email(values["email"])
    if owner is None or owner is record:
        return []
    message = "A customer with this email address already exists."
    return [make_detail("value_error", ("body", "email"), message, values["email"])]


def _check_external_id(organization: FakeOrganization, external_id: Any) -> list[Detail]:
    if external_id is None or organization.store.find_external(external_id) is None:
        return []
    message = "A customer with this external ID already exists."
    return [make_detail("value_error", ("body", "external_id"), message, external_id)]


def _check_external_id_change(organization: FakeOrganization, external_id: Any, *, record: Record) -> list[Detail]:
    present = record.customer.get("external_id")
    if external_id == present:
        return []
    if present is None:
        return _check_external_id(organization, external_id)
    message = "Customer external ID cannot be updated."
    return [make_detail("value_error", ("body", "external_id"), message, external_id)]


def _take_type(values: dict[str, Any], *, record: Record) -> list[Detail]:
    """A customer can become a team and never stops being one."""
    if values.get("type") is None:
        values.pop("type", None)
    elif values["type"] == "individual" and record.customer.get("type") == "team":
        message = "A team customer cannot become an individual."
        return [make_detail("value_error", ("body", "type"), message, "individual")]
    return []


def _take_address_and_tax(values: dict[str, Any], *, country: str | None) -> list[Detail]:
    """Complete the address in `values` and turn its tax id from text into a pair."""
    address = values.get("billing_address")
    if address is not None:
        values["billing_address"] = {name: address.get(name) for name in ADDRESS_FIELDS}
        country = address["country"]
    text = values.get("tax_id")
    if text is None:
        return []
    if country is None:
        message = "Country is required to validate tax ID."
        return [make_detail("missing", ("body", "billing_address", "country"), message, None)]
    pair = read_tax_id(text, country=country)
    if pair is None:
        return [make_detail("invalid", ("body", "tax_id"), "Invalid tax ID.", text)]
    values["tax_id"] = pair
    return []
