"""Recorded traffic of a real Polar server, sent through the client."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from polar_sync import exceptions
from polar_sync.client import PolarClient, PortalClient
from polar_sync.exceptions import PolarError
from tests.client.conftest import MakeClient, read_exchanges, read_organization
from tests.client.scripted import Received, Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
CUSTOMERS = "/v1/customers/"
EXCHANGES = {each["name"]: each for each in read_exchanges()}
KINDS = {
    ("401", "invalid_token"): exceptions.AuthenticationError,
    ("401", "Unauthorized"): exceptions.AuthenticationError,
    ("403", "insufficient_scope"): exceptions.MissingScopeError,
    ("404", "ResourceNotFound"): exceptions.NotFoundError,
    ("404", None): exceptions.RouteNotFoundError,
    ("405", None): exceptions.RequestRefusedError,
    ("422", "RequestValidationError"): exceptions.ValidationError,
    ("422", "PolarRequestValidationError"): exceptions.ValidationError,
    ("307", None): exceptions.RouteNotFoundError,
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
def test_recorded_read_is_asked_and_answered_as_recorded(
    polar: ScriptedServer, client: PolarClient, name: str
) -> None:
    exchange = EXCHANGES[name]
    polar.answer(make_reply(exchange))
    assert read(client, exchange) == exchange["body"]
    asked, recorded = polar.received[0], urlsplit(exchange["path"])
    assert asked.path == recorded.path
    assert set(parse_qsl(recorded.query)) <= set(asked.query)


@pytest.mark.parametrize("name", [name for name, each in EXCHANGES.items() if each["status"] >= 300])
def test_recorded_error_becomes_the_error_it_means(polar: ScriptedServer, client: PolarClient, name: str) -> None:
    exchange = EXCHANGES[name]
    if exchange["status"] == 429:
        polar.answer(Reply(status=200, body={}))
    polar.answer(make_reply(exchange))
    ask: Callable[[], Any] = lambda: client.customers.get_state(ID)  # noqa: E731
    body = exchange["body"] or {}
    if exchange["status"] == 429:
        pytest.skip("asserted in test_retries.py, as it needs no wait there")
    with pytest.raises(PolarError) as caught:
        ask()
    error = caught.value
    assert type(error) is KINDS[str(exchange["status"]), body.get("error")]
    assert (error.status, error.error) == (exchange["status"], body.get("error"))
    if isinstance(error, exceptions.ValidationError):
        assert list(error.fields) == body["detail"]
    if isinstance(error, exceptions.MissingScopeError):
        assert "customers:write" in error.scopes
