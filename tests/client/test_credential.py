from __future__ import annotations

import logging
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from polar_sync.client import PolarClient, PortalClient, RequestBudget
from polar_sync.client.credential import Credential
from polar_sync.exceptions import ConfigurationError, PolarSyncError
from polar_sync.tokens import Token
from tests.client.conftest import TOKEN, MakeClient
from tests.client.scripted import Reply, ScriptedServer
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


class TimeLimitError(Exception):
    """As Celery raises it in the middle of whatever a worker does."""


@pytest.fixture
def limited() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError

    former = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


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
    assert TOKEN not in repr(vars(client)) + repr(vars(client.customers)) + repr(vars(client._transport._wire))
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
