"""What each operation does, once the request is let in. Called with the organization's lock held."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from polar_sync.payloads.texts import read_bool
from polar_sync.testing.auth import Token
from polar_sync.testing.bodies import (
    UPDATE_EXTERNAL_FIELDS,
    UPDATE_FIELDS,
    read_create,
    read_session,
    read_update,
)
from polar_sync.testing.customer_list import HEADERS, build_export, build_page, read_list_query
from polar_sync.testing.customers import Record
from polar_sync.testing.http import (
    Answer,
    Detail,
    Request,
    body_response,
    dump_json,
    json_response,
    refuse_missing,
    refuse_request,
    refuse_token,
    refuse_values,
)
from polar_sync.testing.lists import ROW_LISTS, RowLists
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.validation import (
    check_bool_text,
    check_uuid,
    check_uuids,
    make_detail,
    normalize_email,
    read_uuid,
)
from polar_sync.testing.webhook_operations import WebhookOperations

EU_COUNTRIES = frozenset(
    [
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    ]
)
FORMATS = {
    "AU": ("au_abn", r"\d{11}"),
    "BR": ("br_cnpj", r"\d{14}"),
    "CA": ("ca_gst_hst", r"\d{9}RT\d{4}"),
    "CH": ("ch_vat", r"CHE\d{9}(MWST|TVA|IVA)?"),
    "GB": ("gb_vat", r"(GB)?\d{9}(\d{3})?"),
    "IN": ("in_gst", r"\d{2}[A-Z0-9]{13}"),
    "JP": ("jp_cn", r"\d{13}"),
    "NO": ("no_vat", r"\d{9}(MVA)?"),
    "US": ("us_ein", r"\d{9}"),
}
ADDRESS_FIELDS = ("line1", "line2", "postal_code", "city", "state", "country")
PORTAL_FIELDS = (
    "created_at",
    "modified_at",
    "id",
    "email",
    "email_verified",
    "name",
    "billing_name",
    "billing_address",
    "tax_id",
    "oauth_accounts",
    "default_payment_method_id",
    "type",
    "locale",
)


def read_tax_id(text: str, *, country: str) -> list[str] | None:
    """`[value, format]` for a tax id of `country` (ISO 3166-1 alpha-2), None where it is none of that country.

    The form is checked, the check digits are not.
    """
    value = re.sub(r"[\s.\-/]", "", text).upper()
    if country in EU_COUNTRIES:
        prefix = "EL" if country == "GR" else country
        number = value.removeprefix(prefix)
        return [f"{prefix}{number}", "eu_vat"] if re.fullmatch(r"[A-Z0-9]{2,12}", number) else None
    name, pattern = FORMATS.get(country, (None, ""))
    return [value, name] if name is not None and re.fullmatch(pattern, value) else None


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
    return organization.create_customer(owner=owner, **values)


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
    else:
        # Nothing moves, and it is told all the same.
        organization.event_maker.tell_customer(record, "updated")


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


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation: the request, the parameters in its path, the token it came with."""

    request: Request
    parameters: dict[str, str]
    token: Token


class Operations:
    """The operations on one organization, by their names."""

    def __init__(self, organization: FakeOrganization) -> None:
        self._organization = organization
        self._store = organization.store
        self._rng = random.Random(0)  # noqa: S311  repeatable, not secret
        self.lists = RowLists(organization, ties=self._rng)
        self._handlers: dict[str, Callable[[Call], Answer]] = {
            "customers:list": self._list,
            "customers:create": self._create,
            "customers:export": self._export,
            "customers:get": self._get,
            "customers:get_external": self._get,
            "customers:update": self._update,
            "customers:update_external": self._update,
            "customers:delete": self._delete,
            "customers:delete_external": self._delete,
            "customers:get_state": self._get_state,
            "customers:get_state_external": self._get_state,
            "customers:get_balance": self._get_balance,
            "customer_portal:customers:get": self._get_portal_customer,
            "customer-sessions:create": self._create_session,
            **{operation: partial(self._list_rows, operation) for operation in ROW_LISTS},
            **WebhookOperations(organization.webhooks, organization_id=organization.organization_id).handlers,
        }

    def answer(self, operation: str, call: Call) -> Answer:
        """Carry the operation out; raises `RefusalError` where Polar refuses."""
        return self._handlers[operation](call)

    def find_record(self, parameters: dict[str, str]) -> Record | None:
        """The living customer that a path names, by id (in any spelling of the UUID) or by external id."""
        if "external_id" in parameters:
            return self._store.find_external(parameters["external_id"])
        key = parameters.get("id", "")
        return self._store.find(key) or self._store.find(read_uuid(key) or "")

    def _get_record(self, parameters: dict[str, str]) -> Record:
        record = self.find_record(parameters)
        if record is None:
            wrong = check_uuid(parameters["id"], location=("path", "id")) if "id" in parameters else []
            raise refuse_request(wrong) if wrong else refuse_missing()
        return record

    def _list(self, call: Call) -> Answer:
        asked = read_list_query(call.request.query)
        ties = self._rng if self._organization.shuffle_ties else None
        owner = self._organization.organization_id
        return body_response(build_page(self._store, asked, organization_id=owner, ties=ties))

    def _list_rows(self, operation: str, call: Call) -> Answer:
        return body_response(self.lists.build_page(operation, call.request.query))

    def _export(self, call: Call) -> Answer:
        wanted = [value for name, value in call.request.query if name == "organization_id"]
        wrong = check_uuids(wanted, location=("query", "organization_id"))
        if wrong:
            raise refuse_request(wrong)
        is_ours = not wanted or self._organization.organization_id in {read_uuid(one) for one in wanted}
        rows = sorted(self._store, key=lambda record: record.sequence) if is_ours else []
        return Answer(200, build_export(rows), list(HEADERS), is_streamed=True)

    def _create(self, call: Call) -> Answer:
        customer = create_customer(self._organization, read_create(call.request))
        return body_response(self._organization.get_record(customer["id"]).customer_body, status=201)

    def _get(self, call: Call) -> Answer:
        return body_response(self._get_record(call.parameters).customer_body)

    def _update(self, call: Call) -> Answer:
        is_external = "external_id" in call.parameters
        changes = read_update(call.request, fields=UPDATE_EXTERNAL_FIELDS if is_external else UPDATE_FIELDS)
        record = self._get_record(call.parameters)
        update_customer(self._organization, record, changes)
        return body_response(record.customer_body)

    def _delete(self, call: Call) -> Answer:
        given = [value for name, value in call.request.query if name == "anonymize"][-1:]
        wrong = [detail for one in given for detail in check_bool_text(one, location=("query", "anonymize"))]
        if wrong:
            raise refuse_request(wrong)
        record = self._get_record(call.parameters)
        anonymize = bool(given) and read_bool(given[0])
        self._organization.delete_customer(record.key, anonymize=anonymize)
        return Answer(204, b"", [("Content-Type", "application/json")])

    def _get_state(self, call: Call) -> Answer:
        record = self._get_record(call.parameters)
        if record.cached_state_body is not None:
            return body_response(record.cached_state_body)
        if self._organization.shuffle_arrays:
            return body_response(dump_json(record.shuffle_state(self._rng)))
        return body_response(record.state_body)

    def _get_balance(self, call: Call) -> Answer:
        return json_response({"balance": self._get_record(call.parameters).balance, "currency": "usd"})

    def _get_portal_customer(self, call: Call) -> Answer:
        record = self._store.find(call.token.customer_id or "")
        if record is None:
            raise refuse_token()
        own: dict[str, Any] = {"oauth_accounts": {}, **record.customer}
        return json_response({name: own[name] for name in PORTAL_FIELDS if name in own})

    def _create_session(self, call: Call) -> Answer:
        name, value = read_session(call.request)
        record = self.find_record({"external_id" if name == "external_customer_id" else "id": value})
        if record is None:
            wrong = make_detail("value_error", ("body", name), "Customer does not exist.", value)
            raise refuse_values([wrong])
        return json_response(self._organization.create_session(record.key), status=201)
