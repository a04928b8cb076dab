"""Recorded traffic of a real Polar server, sent through the client."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from polar_sync import exceptions
from polar_sync.client import PolarClient, PortalClient, RequestBudget
from polar_sync.exceptions import PolarError
from tests.client.conftest import MakeClient, read_exchanges, read_organization
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
CUSTOMERS = "/v1/customers/"
EXCHANGES = {each["name"]: each for each in read_exchanges()}
KINDS = {
    (401, "invalid_token"): exceptions.AuthenticationError,
    (401, "Unauthorized"): exceptions.AuthenticationError,
    (403, "insufficient_scope"): exceptions.MissingScopeError,
    (404, "ResourceNotFound"): exceptions.NotFoundError,
    (404, None): exceptions.RouteNotFoundError,
    (405, None): exceptions.RequestRefusedError,
    (422, "RequestValidationError"): exceptions.ValidationError,
    (422, "PolarRequestValidationError"): exceptions.ValidationError,
    (307, None): exceptions.RouteNotFoundError,
    (429, None): exceptions.RateLimitError,
}


def make_reply(exchange: dict[str, Any]) -> Reply:
    headers = {name: value for name, value in exchange["headers"].items() if name != "polar-version"}
    body = exchange["body"]
    return Reply(
        status=exchange["status"],
        body=body.encode() if isinstance(body, str) else b"" if body is None else body,
        headers=headers,
        version=exchange["headers"].get("polar-version"),
    )


def read(client: PolarClient, exchange: dict[str, Any]) -> Any:
    """Ask by the operation that the recorded path belongs to."""
    parts = urlsplit(exchange["path"])
    rest = parts.path.removeprefix(CUSTOMERS)
    match rest.split("/"):
        case [""]:
            return list_customers(client, exchange.get("query") or parse_qsl(parts.query))
        case ["export"]:
            return list(client.customers.export())
        case ["external", external_id]:
            return client.customers.get_external(unquote(external_id))
        case ["external", external_id, "state"]:
            return client.customers.get_state_external(unquote(external_id))
        case [customer_id]:
            return client.customers.get(customer_id)
        case [customer_id, "state"]:
            return client.customers.get_state(customer_id)
        case _:
            raise AssertionError(exchange["path"])


def list_customers(client: PolarClient, query: Iterable[Iterable[str]]) -> Any:
    options: dict[str, Any] = {"sorting": [], "metadata": {}}
    for name, value in query:
        if name == "sorting":
            options["sorting"].append(value)
        elif name.startswith("metadata["):
            options["metadata"][name[9:-1]] = value
        elif name == "active":
            options["active"] = value == "true"
        else:
            options[name] = int(value) if name in {"page", "limit"} else value
    page = client.customers.list(**options)
    return {"items": page.items, "pagination": {"total_count": page.total_count, "max_page": page.max_page}}


def is_customer_read(exchange: dict[str, Any]) -> bool:
    path = exchange["path"]
    is_other = path.endswith("/payment-methods") or "%2F" in path
    return exchange["method"] == "GET" and exchange["status"] == 200 and path.startswith(CUSTOMERS) and not is_other


@pytest.mark.parametrize("name", [name for name, each in EXCHANGES.items() if is_customer_read(each)])
def test_recorded_read_is_asked_and_answered_as_recorded(polar: ScriptedServer, client: PolarClient, name: str) -> None:
    exchange = EXCHANGES[name]
    polar.answer(make_reply(exchange))
    assert read(client, exchange) == exchange["body"]
    asked, recorded = polar.received[0], urlsplit(exchange["path"])
    assert asked.path == recorded.path
    assert set(parse_qsl(recorded.query)) <= set(asked.query)


@pytest.mark.parametrize("name", [name for name, each in EXCHANGES.items() if each["status"] >= 300])
def test_recorded_error_becomes_the_error_it_means(
    polar: ScriptedServer, make_client: MakeClient, organization: str, name: str
) -> None:
    exchange = EXCHANGES[name]
    polar.answer(make_reply(exchange))
    budget = RequestBudget(organization=organization, requests_per_minute=10, max_wait=0)
    with pytest.raises(PolarError) as caught:
        make_client(budget=budget).customers.get_state(ID)
    error, body = caught.value, exchange["body"] or {}
    assert type(error) is KINDS[exchange["status"], body.get("error")]
    assert (error.status, error.error) == (exchange["status"], body.get("error"))
    if isinstance(error, exceptions.ValidationError):
        assert list(error.fields) == body["detail"]
    if isinstance(error, exceptions.MissingScopeError):
        assert "customers:write" in error.scopes
    if isinstance(error, exceptions.RateLimitError):
        assert error.retry_in == 60


@pytest.mark.usefixtures("recordings")
def test_recorded_balance_is_unavailable(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(make_reply(EXCHANGES["customer_balance_404"]))
    with pytest.raises(exceptions.BalanceUnavailableError):
        client.customers.get_balance(ID)


@pytest.mark.usefixtures("recordings")
def test_recorded_writes_are_sent_and_answered_as_recorded(polar: ScriptedServer, client: PolarClient) -> None:
    for name in ("customer_create", "customer_create_team"):
        exchange = EXCHANGES[name]
        polar.answer(make_reply(exchange))
        assert client.customers.create(**exchange["request_body"]) == exchange["body"]
        assert json.loads(polar.received[-1].body) == exchange["request_body"]
    for name in ("customer_patch", "customer_patch_null"):
        exchange = EXCHANGES[name]
        polar.answer(make_reply(exchange))
        assert client.customers.update(exchange["body"]["id"], **exchange["request_body"]) == exchange["body"]
    exchange = EXCHANGES["customer_patch_by_external"]
    polar.answer(make_reply(exchange))
    external_id = exchange["body"]["external_id"]
    assert client.customers.update_external(external_id, **exchange["request_body"]) == exchange["body"]
    polar.answer(make_reply(EXCHANGES["customer_delete"]))
    client.customers.delete(ID)
    assert polar.received[-1].method == "DELETE"


@pytest.mark.usefixtures("recordings")
def test_recorded_portal_customer_is_given_back(polar: ScriptedServer) -> None:
    polar.answer(make_reply(EXCHANGES["portal_me"]))
    with PortalClient("polar_cst_x", server=polar.url) as client:
        assert client.customers.get() == EXCHANGES["portal_me"]["body"]
    assert polar.targets == [EXCHANGES["portal_me"]["path"]]


@pytest.mark.usefixtures("recordings")
def test_recorded_organization_is_given_back(polar: ScriptedServer, make_client: MakeClient, organization: str) -> None:
    client = make_client(budget=RequestBudget(organization=organization, requests_per_minute=100_000))
    found = {"list": 0, "customer": 0, "state": 0}
    for exchange in read_organization():
        kind = exchange["path"].removeprefix(CUSTOMERS).partition("/")[2] or "customer"
        kind = "list" if exchange["path"] == CUSTOMERS else kind
        if not is_customer_read(exchange) or exchange["path"].endswith("/export") or found[kind] >= 100:
            continue
        polar.answer(make_reply(exchange))
        assert read(client, exchange) == exchange["body"]
        found[kind] += 1
    assert found == {"list": 10, "customer": 100, "state": 100}


@pytest.mark.usefixtures("recordings")
def test_recorded_export_is_given_back_row_by_row(polar: ScriptedServer, client: PolarClient) -> None:
    [exchange] = [each for each in read_organization() if each["path"].endswith("/export")]
    polar.answer(make_reply(exchange))
    rows = list(client.customers.export())
    assert len(rows) == 950
    written = io.StringIO()
    writer = csv.DictWriter(written, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    assert written.getvalue() == exchange["body"]


@pytest.mark.usefixtures("recordings")
def test_recordings_hold_errors_and_reads() -> None:
    assert sum(each["status"] >= 300 for each in EXCHANGES.values()) > 20
    assert sum(map(is_customer_read, EXCHANGES.values())) > 20
