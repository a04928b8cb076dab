"""Servers echo what they were sent: no token gets from an answer into an error, a log or an object."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.jsontext import parse_json
from polar_sync.client.redaction import Redactor
from polar_sync.exceptions import PolarSyncError
from polar_sync.tokens import Token
from tests.client.conftest import TOKEN, MakeClient
from tests.client.scripted import Received, Reply, ScriptedServer
from tests.exposure import expose

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
AWKWARD_TOKEN = 'polar-oat/"quoted"\\+0123456789'
Escape = Callable[[str], str]


def write_plainly(text: str) -> str:
    return json.dumps(text)


def escape_all(text: str) -> str:
    return '"' + "".join(f"\\u{ord(each):04x}" for each in text) + '"'


def escape_in_capitals(text: str) -> str:
    return '"' + "".join(f"\\u{ord(each):04X}" for each in text) + '"'


def escape_as_php(text: str) -> str:
    return json.dumps(text).replace("/", "\\/")


def escape_one_letter(text: str) -> str:
    return json.dumps(text).replace("o", "\\u006f", 1)


ESCAPES: list[Escape] = [write_plainly, escape_all, escape_in_capitals, escape_as_php, escape_one_letter]
BODIES = [
    (400, '{"error": "Bad", "detail": %s}'),
    (404, '{"error": %s, "detail": "no"}'),
    (403, '{"error": "forbidden", "error_description": %s}'),
    (422, '{"error": "RequestValidationError", "detail": [{"loc": ["body", %s], "msg": %s, "input": {%s: 1}}]}'),
]


@pytest.mark.parametrize("token", [TOKEN, AWKWARD_TOKEN])
@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize(("status", "template"), BODIES)
def test_error_text_holds_no_token_however_it_is_escaped(
    polar: ScriptedServer, make_client: MakeClient, status: int, template: str, escape: Escape, token: str
) -> None:
    polar.answer(Reply(status=status, body=template.replace("%s", escape(f"Bearer {token}")).encode()))
    with pytest.raises(PolarSyncError) as caught:
        make_client(access_token=token).customers.get(ID)
    assert token not in expose(caught.value)
    assert "Bearer [token]" in expose(caught.value)


@pytest.mark.parametrize("name", ["Location", "WWW-Authenticate", "Content-Type", "Polar-Version", "Retry-After"])
@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_error_quotes_no_token_of_a_header(
    polar: ScriptedServer, make_client: MakeClient, status: int, name: str
) -> None:
    encoded = "".join(f"%{ord(each):02x}" for each in TOKEN)
    value = f'insufficient_scope scope="{TOKEN}" /{encoded}/'
    polar.answer(Reply(status=status, body=b"<html>", headers={name: value}, version=None))
    with pytest.raises(PolarSyncError) as caught:
        make_client(max_attempts=1).customers.get(ID)
    shown = expose(caught.value)
    assert TOKEN not in shown
    assert encoded not in shown


@pytest.mark.parametrize("token", [TOKEN, AWKWARD_TOKEN])
@pytest.mark.parametrize("escape", ESCAPES)
def test_answer_that_echoes_the_request_brings_no_token_along(
    polar: ScriptedServer, make_client: MakeClient, escape: Escape, token: str
) -> None:
    text = escape(f"Bearer {token}")
    body = f'{{"id": "{ID}", "metadata": {{"headers": [[{text}]], {text}: {text}}}, "name": "Zo\\u00eb \\/ é"}}'
    polar.answer(Reply(body=body.encode()))
    found = make_client(access_token=token).customers.get(ID)
    masked = "Bearer [token]"
    assert found == {"id": ID, "metadata": {"headers": [[masked]], masked: masked}, "name": "Zoë / é"}


def test_export_that_echoes_the_request_brings_no_token_along(polar: ScriptedServer, client: PolarClient) -> None:
    def answer(received: Received) -> Reply:
        return Reply(body=f"ID,Name\r\n1,{received.headers['Authorization']}\r\n".encode())

    polar.answer(answer)
    assert list(client.customers.export()) == [{"ID": "1", "Name": "Bearer [token]"}]


def test_data_that_hold_a_short_word_are_left_alone(polar: ScriptedServer, make_client: MakeClient) -> None:
    polar.answer(Reply(body={"id": ID, "name": "text"}), Reply(status=400, body={"detail": "text"}))
    client = make_client(access_token="text")
    assert client.customers.get(ID) == {"id": ID, "name": "text"}
    with pytest.raises(PolarSyncError, match=r"\[token\]"):
        client.customers.get(ID)


PLAIN = st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(token=st.text(PLAIN, min_size=10, max_size=20), value=VALUES, data=st.data())
@example(token="\\" * 10, value=None, data=None)
def test_no_token_is_overlooked_and_nothing_else_is_changed(token: str, value: Any, data: Any) -> None:
    redactor = Redactor(Token(token))
    body = json.dumps(value).encode()
    if json.dumps(token)[1:-1] not in json.dumps(value):
        assert redactor.redact_data(body, parse_json(body)) == value
    escaped = "".join(
        data.draw(st.sampled_from([json.dumps(each)[1:-1], f"\\u{ord(each):04x}"])) if data else json.dumps(each)[1:-1]
        for each in token
    )
    echoing = b'[%s, {"key": "<%s>"}]' % (body, escaped.encode())
    assert parse_json(echoing)[1]["key"] == f"<{token}>"
    assert redactor.redact_data(echoing, parse_json(echoing))[1] == {"key": "<[token]>"}


def test_nesting_as_deep_as_json_is_read_is_redacted() -> None:
    body = b'{"a":[' * 450 + json.dumps(TOKEN).encode() + b"]}" * 450
    found = Redactor(Token(TOKEN)).redact_data(body, parse_json(body))
    assert json.dumps(found).encode() == body.replace(b":[", b": [").replace(TOKEN.encode(), b"[token]")


def test_malformed_headers_that_echo_the_request_are_logged_without_them(
    polar: ScriptedServer, client: PolarClient, caplog: pytest.LogCaptureFixture
) -> None:
    polar.answer(Reply(body={"id": ID}, headers={"X-Echo": f"yes\r\nBearer {TOKEN}\r\nX-After: {TOKEN}"}, length=-1))
    with caplog.at_level(logging.DEBUG):
        client.customers.get(ID)
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert polar.url in record.getMessage()
    assert "malformed headers" in record.getMessage()
    assert TOKEN not in caplog.text + repr([vars(each) for each in caplog.records])


def test_what_urllib3_logs_of_others_is_left_alone(client: PolarClient, caplog: pytest.LogCaptureFixture) -> None:
    client.customers.get(ID)
    logging.getLogger("urllib3.connection").warning("Failed to parse %s", "theirs")
    assert caplog.messages == ["Failed to parse theirs"]
