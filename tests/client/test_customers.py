from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polar_sync.client import ListPage, PolarClient
from polar_sync.exceptions import (
    AuthenticationError,
    ConfigurationError,
    NetworkError,
    PolarError,
    UnreadableAnswerError,
    VersionMismatchError,
)
from tests.client.conftest import TOKEN
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
CUSTOMER = {"id": ID, "name": "Ada"}
EMPTY_PAGE = {"items": [], "pagination": {"total_count": 0, "max_page": 0}}
BALANCE = {"balance": -250, "currency": "usd"}

Ask = Callable[[PolarClient], Any]

OPERATIONS: list[Any] = [
    pytest.param(lambda c: c.customers.create(name="Ada"), "POST", "/v1/customers/", CUSTOMER, id="create"),
    pytest.param(lambda c: c.customers.get(ID), "GET", f"/v1/customers/{ID}", CUSTOMER, id="get"),
    pytest.param(lambda c: c.customers.get(uuid.UUID(ID)), "GET", f"/v1/customers/{ID}", CUSTOMER, id="get-uuid"),
    pytest.param(lambda c: c.customers.get(ID.upper()), "GET", f"/v1/customers/{ID}", CUSTOMER, id="get-upper"),
    pytest.param(lambda c: c.customers.update(ID, name=None), "PATCH", f"/v1/customers/{ID}", CUSTOMER, id="update"),
    pytest.param(
        lambda c: c.customers.get_external("usr_1"), "GET", "/v1/customers/external/usr_1", CUSTOMER, id="get_external"
    ),
    pytest.param(
        lambda c: c.customers.update_external("usr_1", name="A"),
        "PATCH",
        "/v1/customers/external/usr_1",
        CUSTOMER,
        id="update_external",
    ),
    pytest.param(lambda c: c.customers.get_state(ID), "GET", f"/v1/customers/{ID}/state", CUSTOMER, id="get_state"),
    pytest.param(
        lambda c: c.customers.get_state_external("usr_1"),
        "GET",
        "/v1/customers/external/usr_1/state",
        CUSTOMER,
        id="get_state_external",
    ),
    pytest.param(lambda c: c.customers.get_balance(ID), "GET", f"/v1/customers/{ID}/balance", BALANCE, id="balance"),
]


@pytest.mark.parametrize(("ask", "method", "target", "body"), OPERATIONS)
def test_operation_sends_its_request_and_gives_the_answer_back(
    polar: ScriptedServer, client: PolarClient, ask: Ask, method: str, target: str, body: dict[str, Any]
) -> None:
    polar.answer(Reply(status=201 if method == "POST" else 200, body=body))
    assert ask(client) == body
    [received] = polar.received
    assert (received.method, received.target) == (method, target)
    assert received.headers["Authorization"] == f"Bearer {TOKEN}"
    assert received.headers["Polar-Version"] == "2026-04"
    assert received.headers["User-Agent"].startswith("polar-sync/")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"true", b"null", b""])
@pytest.mark.parametrize(("ask", "method"), [(each.values[0], each.values[1]) for each in OPERATIONS])
def test_answer_that_is_no_object_is_unreadable(
    polar: ScriptedServer, client: PolarClient, ask: Ask, method: str, body: bytes
) -> None:
    polar.answer(Reply(body=body))
    with pytest.raises(UnreadableAnswerError) as caught:
        ask(client)
    assert (caught.value.method, caught.value.status, caught.value.permanent) == (method, 200, False)
    assert caught.value.interval is not None


@pytest.mark.parametrize(
    ("ask", "target"),
    [
        (lambda c: c.customers.delete(ID), f"/v1/customers/{ID}"),
        (lambda c: c.customers.delete(ID, anonymize=True), f"/v1/customers/{ID}?anonymize=true"),
        (lambda c: c.customers.delete_external("a b"), "/v1/customers/external/a%20b"),
        (lambda c: c.customers.delete_external("u", anonymize=True), "/v1/customers/external/u?anonymize=true"),
    ],
)
def test_delete_needs_no_body(polar: ScriptedServer, client: PolarClient, ask: Ask, target: str) -> None:
    polar.answer(Reply(status=204))
    before = datetime.now(UTC)
    assert ask(client).start <= before
    assert [(each.method, each.target) for each in polar.received] == [("DELETE", target)]


def test_list_sends_every_parameter_under_polars_name(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=EMPTY_PAGE))
    organization = uuid.uuid4()
    client.customers.list(
        organization_id=[organization, "second"],
        email="A+b@example.com",
        query="李 &",
        active=False,
        page=3,
        limit=7,
        sorting=["-name", "email"],
        metadata={"plan": ["pro", "x y"], "vip": True, "ratio": 0.5, "n": [1, 2.0, 1e22]},
    )
    assert polar.received[0].query == [
        ("organization_id", str(organization)),
        ("organization_id", "second"),
        ("email", "A+b@example.com"),
        ("query", "李 &"),
        ("active", "false"),
        ("page", "3"),
        ("limit", "7"),
        ("sorting", "-name"),
        ("sorting", "email"),
        ("metadata[plan]", "pro"),
        ("metadata[plan]", "x y"),
        ("metadata[vip]", "true"),
        ("metadata[ratio]", "0.5"),
        ("metadata[n]", "1"),
        ("metadata[n]", "2.0"),
        ("metadata[n]", "10000000000000000000000"),
    ]


def test_list_reads_oldest_first_and_full_pages_by_default(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(
        Reply(body={"items": [None, {"id": 1}, 5], "pagination": {"total_count": 3, "max_page": 1, "more": 1}})
    )
    page = client.customers.list()
    assert isinstance(page, ListPage)
    assert (page.items, page.total_count, page.max_page) == ([None, {"id": 1}, 5], 3, 1)
    assert polar.targets == ["/v1/customers/?page=1&limit=100&sorting=created_at"]


def test_list_takes_single_values_for_lists(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=EMPTY_PAGE))
    client.customers.list(organization_id="one", sorting="name", active=True)
    assert polar.targets == ["/v1/customers/?organization_id=one&active=true&page=1&limit=100&sorting=name"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": {}, "pagination": {"total_count": 0, "max_page": 0}},
        {"items": []},
        {"items": [], "pagination": []},
        {"items": [], "pagination": {"total_count": 1}},
        {"items": [], "pagination": {"total_count": -1, "max_page": 0}},
        {"items": [], "pagination": {"total_count": "1", "max_page": 0}},
        {"items": [], "pagination": {"total_count": True, "max_page": 0}},
        {"items": [], "pagination": {"total_count": 1.0, "max_page": 0}},
        {"items": [], "pagination": {"total_count": 10_000_001, "max_page": 0}},
        {"items": [], "pagination": {"total_count": 3, "max_page": 10_000_001}},
        b'{"items": [], "pagination": {"total_count": %s, "max_page": 1}}' % (b"9" * 5000),
        b'{"items": [], "pagination": {"total_count": 1e999, "max_page": 1}}',
    ],
)
def test_list_of_another_shape_is_unreadable(polar: ScriptedServer, client: PolarClient, body: Any) -> None:
    polar.answer(Reply(body=body))
    with pytest.raises(UnreadableAnswerError):
        client.customers.list()


def test_iterate_reads_all_pages_with_the_same_filters(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(*(Reply(body={"items": [n], "pagination": {"total_count": 3, "max_page": 3}}) for n in (1, 2, 3)))
    assert list(client.customers.iterate(email="a", limit=1, sorting=None)) == [1, 2, 3]
    assert polar.targets == [f"/v1/customers/?email=a&page={n}&limit=1" for n in (1, 2, 3)]


def test_iterate_ends_at_an_empty_page_though_more_were_promised(polar: ScriptedServer, client: PolarClient) -> None:
    full = {"items": [1], "pagination": {"total_count": 9, "max_page": 9}}
    polar.answer(Reply(body=full), Reply(body={**full, "items": []}))
    assert list(client.customers.iterate()) == [1]
    assert len(polar.received) == 2


def test_iterate_asks_for_a_page_only_when_it_is_needed(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={"items": [1, 2], "pagination": {"total_count": 4, "max_page": 2}}))
    customers = client.customers.iterate()
    assert polar.received == []
    assert next(customers) == 1
    assert len(polar.received) == 1


def test_create_sends_the_fields_as_json(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=201, body=CUSTOMER))
    organization = uuid.uuid4()
    client.customers.create(name="Né\ud800", metadata={"a": 1}, organization_id=organization)
    [received] = polar.received
    assert received.headers["Content-Type"] == "application/json"
    assert json.loads(received.body) == {
        "name": "Né\ud800",
        "metadata": {"a": 1},
        "organization_id": str(organization),
    }


def test_update_can_set_a_field_of_any_name(polar: ScriptedServer, client: PolarClient) -> None:
    client.customers.update(ID, customer_id="x", self="y")
    assert json.loads(polar.received[0].body) == {"customer_id": "x", "self": "y"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes"])
def test_fields_that_json_cannot_say_are_refused_before_any_request(
    polar: ScriptedServer, client: PolarClient, value: object
) -> None:
    with pytest.raises(ConfigurationError, match="JSON"):
        client.customers.create(metadata={"a": value})
    assert polar.received == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.customers.get("not-a-uuid"),
        lambda c: c.customers.get_state(""),
        lambda c: c.customers.delete("../organizations"),
        lambda c: c.customers.update("usr_1", name="x"),
        lambda c: c.customers.get_balance(None),
        lambda c: c.customers.get_external("org/team"),
        lambda c: c.customers.get_state_external("/"),
        lambda c: c.customers.update_external("", name="x"),
        lambda c: c.customers.delete_external(".."),
        lambda c: c.customers.get_external("."),
        lambda c: c.customers.get_external("\ud800"),
        lambda c: c.customers.get_external(7),
        lambda c: c.customers.list(organization_id=[]),
        lambda c: c.customers.list(metadata={"plan": []}),
        lambda c: c.customers.list(metadata={"plan": None}),
        lambda c: c.customers.list(metadata={"plan": [None]}),
        lambda c: c.customers.list(metadata={"plan": float("nan")}),
        lambda c: c.customers.list(metadata={"": "x"}),
        lambda c: c.customers.list(metadata={"a]b": "x"}),
        lambda c: c.customers.list(query="\ud800"),
        lambda c: c.customers.export(organization_id=()),
    ],
)
def test_what_polar_cannot_be_asked_is_refused_before_any_request(
    polar: ScriptedServer, client: PolarClient, ask: Ask
) -> None:
    with pytest.raises(ConfigurationError):
        ask(client)
    assert polar.received == []


@given(external_id=st.text(min_size=1).filter(lambda text: "/" not in text and text not in {".", ".."}))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_external_id_arrives_as_it_is(polar: ScriptedServer, client: PolarClient, external_id: str) -> None:
    client.customers.get_state_external(external_id)
    path = polar.received[-1].target
    assert path.startswith("/v1/customers/external/")
    assert path.endswith("/state")
    assert path.count("/") == 5
    assert unquote(path.split("/")[4], errors="strict") == external_id


@pytest.mark.parametrize(
    "body", [{"balance": "1", "currency": "usd"}, {"balance": True, "currency": "usd"}, {"balance": 1}]
)
def test_balance_of_another_shape_is_unreadable(polar: ScriptedServer, client: PolarClient, body: Any) -> None:
    polar.answer(Reply(body=body))
    with pytest.raises(UnreadableAnswerError, match="cents"):
        client.customers.get_balance(ID)


def test_export_gives_rows_while_they_come_in(polar: ScriptedServer, client: PolarClient) -> None:
    pieces = [b'ID,Name\r\n1,"A\r\nB "', b'"quoted"" \xc3', b'\xa9\xe2\x80\xa8"\r\n', b"2,\r\n"]
    polar.answer(Reply(pieces=pieces, is_chunked=True, headers={"Content-Type": "text/csv"}))
    rows = client.customers.export(organization_id="o")
    assert polar.received == []
    assert list(rows) == [{"ID": "1", "Name": 'A\r\nB "quoted" é\u2028'}, {"ID": "2", "Name": ""}]
    assert polar.targets == ["/v1/customers/export?organization_id=o"]


def test_export_gives_the_first_row_before_the_last_was_sent(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(pieces=[b"ID\r\n1\r\n", b"2\r\n"], pause=0.1, is_chunked=True))
    rows = client.customers.export()
    assert next(rows) == {"ID": "1"}
    rows.close()  # type: ignore[attr-defined]
    polar.answer(Reply(body=CUSTOMER))
    assert client.customers.get(ID) == CUSTOMER


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "first column"),
        (b"<html>\n</html>\n", "first column"),
        (b"ID,Name\r\n1\r\n", "1 values under 2 columns"),
        (b"ID,Name\r\n1,2,3\r\n", "3 values under 2 columns"),
        (b"ID,Name\r\n1,caf\xe9\r\n", "utf-8"),
        (b"ID,Name\r\n1,A", "ends within a row"),
        (b'ID,Name\r\n1,"A\r\n', "unexpected end"),
        (b"ID,Name\r\n1," + b"x" * 200_000 + b"\r\n", "field limit"),
        (b"ID" + b"x" * 3_000_000, "a line of more than"),
    ],
)
def test_export_that_is_no_whole_csv_is_unreadable(
    polar: ScriptedServer, client: PolarClient, body: bytes, reason: str
) -> None:
    polar.answer(Reply(body=body, headers={"Content-Type": "text/csv"}))
    with pytest.raises(UnreadableAnswerError, match=reason) as caught:
        list(client.customers.export())
    assert caught.value.path == "/v1/customers/export"
    assert caught.value.__context__ is None


def test_export_is_tried_again_before_its_first_row(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=503), Reply(is_cut=True), Reply(body=b"ID\r\n1\r\n"))
    assert list(client.customers.export()) == [{"ID": "1"}]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=401, body={"error": "invalid_token"}), AuthenticationError),
        (Reply(body=b"ID\r\n1\r\n", version="1999-01"), VersionMismatchError),
    ],
)
def test_export_that_is_refused_gives_no_row(
    polar: ScriptedServer, client: PolarClient, reply: Reply, kind: type[PolarError]
) -> None:
    polar.answer(reply)
    with pytest.raises(kind):
        next(client.customers.export())


@pytest.mark.parametrize("length", [1000, -1])
def test_export_that_is_cut_is_never_taken_for_a_whole_one(
    polar: ScriptedServer, client: PolarClient, length: int
) -> None:
    polar.answer(Reply(body=b"ID,Name\r\n1,A\r\n2,B", length=length))
    rows = client.customers.export()
    assert next(rows) == {"ID": "1", "Name": "A"}
    with pytest.raises((NetworkError, UnreadableAnswerError)) as caught:
        next(rows)
    assert caught.value.__context__ is None
    assert len(polar.received) == 1
