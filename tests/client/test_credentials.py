"""The token is put on every request and shown to nobody."""

from __future__ import annotations

import json
import logging
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.client import PolarClient, PortalClient, RequestBudget
from polar_sync.client.credentials import Credential, Redactor
from polar_sync.client.responses import parse_json
from polar_sync.exceptions import ConfigurationError, PolarSyncError
from polar_sync.tokens import Token
from tests.client.conftest import TOKEN, MakeClient, TimeLimitError
from tests.client.scripted import Received, Reply, ScriptedServer
from tests.exposure import expose

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"


FAILURES = {
    "cut": Reply(is_cut=True),
    "broken off": Reply(body=b"{", length=9),
    "timeout": Reply(body={}, delay=0.6),
    "html": Reply(body=b"<html>"),
    "gzip": Reply(body=b"x", headers={"Content-Encoding": "gzip"}),
    "redirect": Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    "unauthorized": Reply(status=401),
    "server": Reply(status=500),
    "rate limit": Reply(status=429, headers={"Retry-After": "60"}),
    "version": Reply(body={}, version="1999-01"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_no_error_leads_to_the_token(
    polar: ScriptedServer,
    make_client: MakeClient,
    organization: str,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=100, max_wait=1)
    polar.answer(FAILURES[name])
    client = make_client(budget=budget, max_attempts=2, read_timeout=0.5 if name == "timeout" else 30)
    with caplog.at_level(logging.DEBUG), pytest.raises(PolarSyncError) as caught:
        client.customers.get(ID)
    assert polar.received[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in expose(caught.value)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "server", ["http://127.0.0.1:9", "http://a..b", "https://127.0.0.1:9", "http://nowhere.invalid"]
)
def test_no_error_before_an_answer_leads_to_the_token(make_client: MakeClient, server: str) -> None:
    with pytest.raises(PolarSyncError) as caught:
        make_client(server=server, max_attempts=1).customers.list(email="ada@example.com")
    assert TOKEN not in expose(caught.value)
    assert "ada" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "reply", [Reply(body={}, delay=0.3), Reply(pieces=[b" "] * 10, pause=0.03)], ids=["waiting", "reading"]
)
@pytest.mark.usefixtures("limited")
def test_interruption_does_not_lead_to_the_token(polar: ScriptedServer, client: PolarClient, reply: Reply) -> None:
    def answer(_: object) -> Reply:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return reply

    polar.answer(answer)
    with pytest.raises(TimeLimitError) as caught:
        client.customers.get(ID)
    assert TOKEN not in expose(caught.value)


def test_export_that_breaks_off_does_not_lead_to_the_token(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=b"ID\r\n1\r\n", length=99))
    with pytest.raises(PolarSyncError) as caught:
        list(client.customers.export())
    assert TOKEN not in expose(caught.value)


def test_clients_show_their_server_and_not_their_token(polar: ScriptedServer, client: PolarClient) -> None:
    assert repr(client) == str(client) == f"<PolarClient: {polar.url}>"
    assert TOKEN not in repr(vars(client)) + repr(vars(client.customers)) + repr(vars(client._transport._sender))
    with PortalClient("polar_cst_secret", server="sandbox") as portal:
        assert repr(portal) == "<PortalClient: https://sandbox-api.polar.sh>"


def test_client_cannot_be_pickled_into_a_message(client: PolarClient) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(client)


@pytest.mark.parametrize(
    "token", ["", "polar_oat_x\n", " polar_oat_x", "polar oat", "polar_oat_\x00", "pölar", "x\ud800"]
)
@pytest.mark.parametrize("kind", [PolarClient, PortalClient])
def test_token_that_cannot_be_one_is_refused_without_showing_it(
    kind: type[PolarClient | PortalClient], token: str
) -> None:
    with pytest.raises(ConfigurationError, match="token") as caught:
        kind(token)
    assert not token or repr(token)[1:-1] not in expose(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("options", [{"server": "nowhere"}, {"max_attempts": 0}, {"version": ""}, {"read_timeout": -1}])
@pytest.mark.parametrize("kind", [PolarClient, PortalClient])
def test_other_wrong_arguments_do_not_show_the_token(
    kind: type[PolarClient | PortalClient], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(TOKEN, **options)
    assert TOKEN not in expose(caught.value)


def test_client_takes_a_masked_token(polar: ScriptedServer, make_client: MakeClient) -> None:
    make_client(access_token=Token(TOKEN)).customers.get(ID)
    assert polar.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", [None, b"polar_oat_x", 5])
def test_token_that_is_no_text_is_refused(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="access token"):
        PolarClient(token)


def test_credential_shows_its_kind_only() -> None:
    assert repr(Credential(Token(TOKEN), kind="access token")) == "<Credential: access token>"


def test_netrc_does_not_replace_the_token(
    polar: ScriptedServer, client: PolarClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.customers.get(ID)
    assert polar.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_proxy_of_the_environment_is_used(
    polar: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", polar.url)
    make_client(server="http://polar.invalid").customers.get(ID)
    assert polar.targets == [f"http://polar.invalid/v1/customers/{ID}"]
    assert polar.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_redirect_to_another_host_takes_no_token_there(polar: ScriptedServer, make_client: MakeClient) -> None:
    other = ScriptedServer()
    try:
        polar.answer(Reply(status=307, headers={"Location": f"{other.url}/v1/customers/{ID}"}))
        with pytest.raises(PolarSyncError, match=other.url):
            make_client().customers.get(ID)
        assert other.received == []
    finally:
        other.close()


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
