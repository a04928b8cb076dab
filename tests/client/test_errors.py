from __future__ import annotations

import json
from typing import Any

import pytest

from polar_sync import exceptions
from polar_sync.client import PolarClient
from polar_sync.exceptions import PolarError
from tests.client.conftest import TOKEN, MakeClient
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
NOT_FOUND = {"error": "ResourceNotFound", "detail": "Not found"}
BARE_NOT_FOUND = {"detail": "Not Found"}
NO_SCOPE = {"error": "insufficient_scope", "error_description": "The request requires higher privileges."}

STATUSES = [
    (301, {}, "RouteNotFoundError", True),
    (307, {}, "RouteNotFoundError", True),
    (400, {"error": "BadRequest", "detail": "No."}, "RequestRefusedError", True),
    (401, {"error": "invalid_token"}, "AuthenticationError", True),
    (401, b"<html>", "AuthenticationError", True),
    (403, NO_SCOPE, "MissingScopeError", True),
    (403, {"detail": "Forbidden"}, "RequestRefusedError", True),
    (404, NOT_FOUND, "NotFoundError", True),
    (404, BARE_NOT_FOUND, "RouteNotFoundError", True),
    (404, {"detail": "Not found"}, "RouteNotFoundError", True),
    (404, {"error": "resourcenotfound"}, "RouteNotFoundError", True),
    (404, ["ResourceNotFound"], "RouteNotFoundError", True),
    (404, b'{"error":"ResourceNotFound"', "RouteNotFoundError", True),
    (404, b"<html>ResourceNotFound</html>", "RouteNotFoundError", True),
    (404, b"", "RouteNotFoundError", True),
    (405, {"detail": "Method Not Allowed"}, "RequestRefusedError", True),
    (409, NOT_FOUND, "RequestRefusedError", True),
    (410, NOT_FOUND, "RequestRefusedError", True),
    (418, b"\xff\xfe", "RequestRefusedError", True),
    (422, {"error": "RequestValidationError", "detail": "text"}, "ValidationError", True),
    (422, b"", "ValidationError", True),
    (500, NOT_FOUND, "ServerError", False),
    (503, b"<html>busy</html>", "ServerError", False),
    (599, b"", "ServerError", False),
    (600, b"", "UnreadableAnswerError", False),
]


@pytest.mark.parametrize(("status", "body", "name", "permanent"), STATUSES)
def test_status_and_body_decide_the_error(
    polar: ScriptedServer, make_client: MakeClient, status: int, body: Any, name: str, permanent: bool
) -> None:
    polar.answer(Reply(status=status, body=body))
    with pytest.raises(PolarError) as caught:
        make_client(max_attempts=1).customers.get_state(ID)
    error = caught.value
    assert type(error).__name__ == name
    assert error.permanent is permanent
    assert (error.method, error.path, error.status) == ("GET", f"/v1/customers/{ID}/state", status)
    assert error.error == (body.get("error") if isinstance(body, dict) else None)
    assert error.interval is not None
    assert f"/v1/customers/{ID}/state" in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_missing_scope_names_the_scopes(polar: ScriptedServer, client: PolarClient) -> None:
    challenge = 'Bearer realm="polar", scope="customers:read customers:write", error="insufficient_scope"'
    polar.answer(Reply(status=403, body=NO_SCOPE, headers={"WWW-Authenticate": challenge}))
    with pytest.raises(exceptions.MissingScopeError, match="customers:read or customers:write") as caught:
        client.customers.get(ID)
    assert caught.value.scopes == ("customers:read", "customers:write")


def test_validation_error_says_which_fields_and_keeps_their_values_out_of_its_message(
    polar: ScriptedServer, client: PolarClient
) -> None:
    detail = [
        {"type": "value_error", "loc": ["body", "email"], "msg": "Already exists.", "input": "ada@example.com"},
        "not an object",
        {"loc": "body", "msg": None},
    ]
    polar.answer(Reply(status=422, body={"error": "PolarRequestValidationError", "detail": detail}))
    with pytest.raises(exceptions.ValidationError, match=r"body\.email: Already exists") as caught:
        client.customers.create(email="ada@example.com")
    assert caught.value.fields == (detail[0], detail[2])
    assert "ada@" not in str(caught.value)


def test_balance_that_the_server_no_longer_has_says_so(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=404, body=BARE_NOT_FOUND))
    with pytest.raises(exceptions.BalanceUnavailableError, match="no longer has the balance"):
        client.customers.get_balance(ID)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, NOT_FOUND, exceptions.NotFoundError),
        (404, b"<html>", exceptions.RouteNotFoundError),
        (307, b"", exceptions.RouteNotFoundError),
    ],
)
def test_balance_that_is_missing_for_another_reason_does_not_say_that(
    polar: ScriptedServer, client: PolarClient, status: int, body: Any, kind: type[PolarError]
) -> None:
    polar.answer(Reply(status=status, body=body))
    with pytest.raises(kind) as caught:
        client.customers.get_balance(ID)
    assert not isinstance(caught.value, exceptions.BalanceUnavailableError)


def test_external_id_named_balance_is_no_balance(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=404, body=BARE_NOT_FOUND))
    with pytest.raises(exceptions.RouteNotFoundError) as caught:
        client.customers.get_external("balance")
    assert not isinstance(caught.value, exceptions.BalanceUnavailableError)


@pytest.mark.parametrize(("status", "body"), [(200, {}), (404, NOT_FOUND), (404, BARE_NOT_FOUND)])
def test_answer_in_another_version_is_not_used(
    polar: ScriptedServer, client: PolarClient, status: int, body: Any
) -> None:
    polar.answer(Reply(status=status, body=body, version="2027-01"))
    with pytest.raises(exceptions.VersionMismatchError, match=r"2026-04.*2027-01") as caught:
        client.customers.get(ID)
    assert caught.value.permanent


def test_version_asked_for_can_be_another(polar: ScriptedServer, make_client: MakeClient) -> None:
    polar.answer(Reply(body={}, version="2027-01"))
    assert make_client(version="2027-01").customers.get(ID) == {}
    assert polar.received[0].headers["Polar-Version"] == "2027-01"


def test_answer_without_a_version_is_taken(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, version=None))
    assert client.customers.get(ID) == {}


def test_redirect_is_not_followed_and_shows_no_query(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=307, headers={"Location": f"{polar.url}/elsewhere?email=ada"}))
    with pytest.raises(exceptions.RouteNotFoundError, match="/elsewhere,") as caught:
        client.customers.list(email="ada")
    assert len(polar.received) == 1
    assert "ada" not in str(caught.value)


def test_unreadable_answer_names_its_type_but_not_its_text(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=b"<html>private</html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(exceptions.UnreadableAnswerError, match="text/html") as caught:
        client.customers.get(ID)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, rb'{"error": "a\u0000b\ud800c", "detail": "a\u0000b\ud800c"}'),
        (401, rb'{"error": "a\u0000b\ud800c"}'),
        (403, rb'{"error_description": "a\u0000b\ud800c"}'),
        (422, rb'{"detail": [{"loc": ["a\u0000b\ud800c"], "msg": "a\u0000b\ud800c", "in\u0000put": ["\udfff"]}]}'),
    ],
)
def test_error_holds_nothing_that_a_database_refuses(
    polar: ScriptedServer, client: PolarClient, status: int, body: bytes
) -> None:
    polar.answer(Reply(status=status, body=body))
    with pytest.raises(PolarError) as caught:
        client.customers.get(ID)
    shown = f"{caught.value}{caught.value.error}{json.dumps(vars(caught.value), default=str, ensure_ascii=False)}"
    assert "\x00" not in shown
    assert "\ufffd" in shown
    shown.encode()


@pytest.mark.parametrize("status", [301, 400, 403, 404, 422])
def test_error_repeats_only_the_beginning_of_a_long_text(
    polar: ScriptedServer, client: PolarClient, status: int
) -> None:
    long = "long " * 5000
    body = {"error": long, "detail": long if status == 400 else [{"loc": ["body"], "msg": long}] * 9}
    polar.answer(Reply(status=status, body=body, headers={"Location": long, "WWW-Authenticate": f'scope="{long}"'}))
    with pytest.raises(PolarError) as caught:
        client.customers.get(ID)
    assert len(str(caught.value)) + len(str(caught.value.error)) < 1500


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422, 429, 500])
def test_token_that_a_server_echoes_is_in_no_error(polar: ScriptedServer, make_client: MakeClient, status: int) -> None:
    body = {"error": TOKEN, "detail": [{"loc": [TOKEN], "msg": TOKEN, "input": TOKEN}], "error_description": TOKEN}
    headers = {"WWW-Authenticate": f'Bearer scope="{TOKEN}", error="insufficient_scope"', "Location": f"/{TOKEN}"}
    polar.answer(Reply(status=status, body=body, headers=headers))
    client = make_client(max_attempts=1)
    if status == 429:
        polar.answer(Reply(status=429, body=body, headers={"Retry-After": "0"}), Reply(status=400, body=body))
    with pytest.raises(PolarError) as caught:
        client.customers.get(ID)
    shown = f"{caught.value}{caught.value!r}{vars(caught.value)}{json.dumps(vars(caught.value), default=str)}"
    assert TOKEN not in shown
