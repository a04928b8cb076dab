from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from polar_sync.testing import FakePolar, FakePolarServer, Fault

TIMEOUT = 10


@pytest.fixture
def server() -> Iterator[FakePolarServer]:
    with FakePolarServer(FakePolar.generate(seed=1, customers=150)) as running:
        yield running


@pytest.fixture
def session(server: FakePolarServer) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.headers["Authorization"] = f"Bearer {server.polar.access_token}"
        yield made


def get(session: requests.Session, server: FakePolarServer, path: str, **options: Any) -> requests.Response:
    return session.get(f"{server.url}{path}", timeout=TIMEOUT, **options)


def test_connection_is_kept_alive(server: FakePolarServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=TIMEOUT)
    connection.connect()
    used = connection.sock
    headers = {"Authorization": f"Bearer {server.polar.access_token}"}
    own = server.polar.customers[0]
    sent = json.dumps({"name": "n"})
    steps: list[tuple[str, str, str | None, int]] = [
        ("GET", f"/v1/customers/{own}/state", None, 200),
        ("PATCH", f"/v1/customers/{own}", sent, 200),
        ("GET", "/v1/customers/export", None, 200),
        ("HEAD", "/v1/customers/", None, 405),
        ("GET", "/nowhere", None, 404),
        ("DELETE", f"/v1/customers/{own}", None, 204),
        ("GET", "/v1/customers/", None, 200),
    ]
    for method, path, body, status in steps:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert response.version == 11
        assert connection.sock is used
    connection.close()


def test_export_is_streamed_in_chunks(server: FakePolarServer, session: requests.Session) -> None:
    response = get(session, server, "/v1/customers/export")
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in response.headers
    assert response.content.count(b"\r\n") >= 151


def test_redirect_leads_to_the_list_with_its_query(server: FakePolarServer, session: requests.Session) -> None:
    response = get(session, server, "/v1/customers?limit=3")
    assert [one.status_code for one in response.history] == [307]
    assert len(response.json()["items"]) == 3


def test_cut_connection_is_a_connection_error(server: FakePolarServer, session: requests.Session) -> None:
    server.polar.faults.add(Fault(kind="cut"))
    with pytest.raises(requests.ConnectionError):
        get(session, server, "/v1/customers/")
    assert get(session, server, "/v1/customers/").status_code == 200


@pytest.mark.parametrize("path", ["/v1/customers/", "/v1/customers/export"])
def test_truncated_body_ends_before_its_length(server: FakePolarServer, session: requests.Session, path: str) -> None:
    server.polar.faults.add(Fault(kind="truncate"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(session, server, path)
    assert get(session, server, path).status_code == 200


def test_status_without_a_name_is_served(server: FakePolarServer, session: requests.Session) -> None:
    server.polar.faults.add(Fault(kind="server_error", status=520))
    assert get(session, server, "/v1/customers/").status_code == 520


def test_many_threads_are_served_at_once(server: FakePolarServer) -> None:
    together = threading.Barrier(40, timeout=TIMEOUT)
    # Nobody gets past the barrier unless all forty requests are being served at the same time.
    server.polar.before("customers:get_state", together.wait, times=None)
    statuses: list[int] = []

    def work(own: str) -> None:
        headers = {"Authorization": f"Bearer {server.polar.access_token}"}
        response = requests.get(f"{server.url}/v1/customers/{own}/state", headers=headers, timeout=TIMEOUT)
        statuses.append(response.status_code)

    threads = [threading.Thread(target=work, args=(own,)) for own in server.polar.customers[:40]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40


def test_stopping_ends_open_connections_and_frees_the_port() -> None:
    before = threading.active_count()
    with FakePolarServer() as server:
        address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
        idle = socket.create_connection(address, timeout=TIMEOUT)
        with requests.Session() as session:
            session.get(server.url, timeout=TIMEOUT)
    assert idle.recv(1) == b""
    idle.close()
    assert threading.active_count() <= before
    with pytest.raises(ConnectionError):
        socket.create_connection(address, timeout=TIMEOUT)
    with FakePolarServer(port=address[1] or 0) as again:
        assert again.url == server.url


def test_client_that_goes_away_does_not_harm_the_others(server: FakePolarServer, session: requests.Session) -> None:
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    for sent in (b"", b"GET", b"GET /v1/customers/ HTTP/1.1\r\nContent-Length: 50\r\n\r\n{", b"\x00\xff\r\n\r\n"):
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            connection.sendall(sent)
    assert get(session, server, "/v1/customers/").status_code == 200


def test_server_that_never_started_can_be_stopped() -> None:
    FakePolarServer().stop()


def test_error_in_a_hook_is_a_500_and_raised_at_the_end() -> None:
    statuses: list[int] = []

    def fail() -> None:
        raise LookupError("the hook is wrong")

    def serve() -> None:
        with FakePolarServer() as server:
            server.polar.before("customers:list", fail)
            headers = {"Authorization": f"Bearer {server.polar.access_token}"}
            url = f"{server.url}/v1/customers/"
            statuses.extend(requests.get(url, headers=headers, timeout=TIMEOUT).status_code for _ in range(2))

    with pytest.raises(RuntimeError, match="the hook is wrong") as raised:
        serve()
    assert isinstance(raised.value.__cause__, LookupError)
    assert statuses == [500, 200]


def test_body_of_unknown_length_is_refused(server: FakePolarServer, session: requests.Session) -> None:
    response = session.post(f"{server.url}/v1/customers/", data=iter([b"{}"]), timeout=TIMEOUT)
    assert response.status_code == 411
    assert get(session, server, "/v1/customers/").status_code == 200


def test_answer_to_head_has_no_body(server: FakePolarServer) -> None:
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        connection.sendall(b"HEAD /v1/customers/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as reader:
            got = reader.read()
    assert got.startswith(b"HTTP/1.1 405 ")
    assert got.endswith(b"\r\n\r\n")
