"""What each operation does, once the request is let in. Called with the organization's lock held."""

from __future__ import annotations

import random
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
from polar_sync.testing.export import HEADERS, build_export
from polar_sync.testing.listing import build_page, read_list_query
from polar_sync.testing.lists import ROW_LISTS, RowLists
from polar_sync.testing.organization import FakeOrganization
from polar_sync.testing.store import Record
from polar_sync.testing.validation import (
    check_bool_text,
    check_uuid,
    check_uuids,
    make_detail,
    read_uuid,
)
from polar_sync.testing.wire import (
    Answer,
    Request,
    answer_body,
    answer_json,
    dump_json,
    refuse_missing,
    refuse_request,
    refuse_token,
    refuse_values,
)
from polar_sync.testing.writes import create_customer, update_customer

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
        return answer_body(build_page(self._store, asked, organization_id=owner, ties=ties))

    def _list_rows(self, operation: str, call: Call) -> Answer:
        return answer_body(self.lists.build_page(operation, call.request.query))

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
        return answer_body(self._organization.get_record(customer["id"]).customer_body, status=201)

    def _get(self, call: Call) -> Answer:
        return answer_body(self._get_record(call.parameters).customer_body)

    def _update(self, call: Call) -> Answer:
        is_external = "external_id" in call.parameters
        changes = read_update(call.request, fields=UPDATE_EXTERNAL_FIELDS if is_external else UPDATE_FIELDS)
        record = self._get_record(call.parameters)
        update_customer(self._organization, record, changes)
        return answer_body(record.customer_body)

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
            return answer_body(record.cached_state_body)
        if self._organization.shuffle_arrays:
            return answer_body(dump_json(record.shuffle_state(self._rng)))
        return answer_body(record.state_body)

    def _get_balance(self, call: Call) -> Answer:
        return answer_json({"balance": self._get_record(call.parameters).balance, "currency": "usd"})

    def _get_portal_customer(self, call: Call) -> Answer:
        record = self._store.find(call.token.customer_id or "")
        if record is None:
            raise refuse_token()
        own: dict[str, Any] = {"oauth_accounts": {}, **record.customer}
        return answer_json({name: own[name] for name in PORTAL_FIELDS if name in own})

    def _create_session(self, call: Call) -> Answer:
        name, value = read_session(call.request)
        record = self.find_record({"external_id" if name == "external_customer_id" else "id": value})
        if record is None:
            wrong = make_detail("value_error", ("body", name), "Customer does not exist.", value)
            raise refuse_values([wrong])
        return answer_json(self._organization.create_session(record.key), status=201)
