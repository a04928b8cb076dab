from __future__ import annotations

import gc
import gzip
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polar_sync.client import PolarClient, RequestBudget, retries
from polar_sync.exceptions import ClientClosedError, NotFoundError
from tests.client.conftest import MakeClient
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
NOT_FOUND = Reply(status=404, body={"error": "ResourceNotFound", "detail": "Not found"})


def count_connections(polar: ScriptedServer) -> int:
    return len({id(each.connection) for each in polar.received})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body={"a": "b" * 200_000}),
        Reply(pieces=[b'{"a"', b": 1}"], is_chunked=True),
        NOT_FOUND,
        Reply(status=204),
    ],
)
def test_connection_is_used_again_whatever_was_answered(
    polar: ScriptedServer, client: PolarClient, reply: Reply
) -> None:
    polar.answer(reply)
    for _ in range(4):
        try:
            client.customers.delete(ID)
        except NotFoundError:
            continue
    assert len(polar.received) == 4
    assert count_connections(polar) == 1


def test_compressed_answers_are_read(polar: ScriptedServer, client: PolarClient) -> None:
    body = gzip.compress(b'{"a": "' + b"b" * 300_000 + b'"}')
    for is_chunked in (False, True):
        polar.answer(Reply(pieces=[body[:40], body[40:]], is_chunked=is_chunked, headers={"Content-Encoding": "gzip"}))
        assert client.customers.get(ID) == {"a": "b" * 300_000}
    assert count_connections(polar) == 1


def test_every_thread_has_a_connection_of_its_own(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, delay=0.01))
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait()
        for _ in range(3):
            client.customers.get(ID)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask) for _ in range(4)]:
            done.result()
    assert count_connections(polar) == 4
    assert client.usage.requests == 12


def test_client_is_used_from_many_threads_and_counts_them_all(polar: ScriptedServer, make_client: MakeClient) -> None:
    budget = RequestBudget(organization="many threads", requests_per_minute=10_000)
    client = make_client(budget=budget)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: client.customers.get(ID), range(200))) == [{}] * 200
    assert client.usage.requests == len(polar.received) == 200


def test_connections_of_threads_that_ended_are_closed(polar: ScriptedServer, client: PolarClient) -> None:
    for _ in range(3):
        thread = threading.Thread(target=lambda: client.customers.get(ID))
        thread.start()
        thread.join()
    gc.collect()
    assert len(client._transport._sender.sessions._state.sessions) == 0


def test_closed_client_asks_nothing(polar: ScriptedServer, client: PolarClient) -> None:
    client.customers.get(ID)
    client.close()
    client.close()
    with pytest.raises(ClientClosedError):
        client.customers.get(ID)
    assert len(polar.received) == 1


def test_client_is_closed_at_the_end_of_its_block(polar: ScriptedServer, make_client: MakeClient) -> None:
    with make_client() as client:
        client.customers.get(ID)
    with pytest.raises(ClientClosedError):
        client.customers.get(ID)


def close_while_asking(client: PolarClient, polar: ScriptedServer) -> BaseException | None:
    """What the question ends with; None where it does not end."""
    found: list[BaseException] = []

    def ask() -> None:
        try:
            client.customers.get(ID)
        except ClientClosedError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    deadline = time.monotonic() + 20
    while not polar.received and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    client.close()
    thread.join(timeout=20)
    return found[0] if found else None


@pytest.mark.parametrize(
    "reply", [Reply(status=503), Reply(status=429, headers={"Retry-After": "60"}), Reply(is_cut=True)]
)
def test_closing_wakes_who_waits_to_ask_again(
    polar: ScriptedServer, client: PolarClient, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY", 30.0)
    polar.answer(reply)
    assert isinstance(close_while_asking(client, polar), ClientClosedError)
    assert len(polar.received) == 1


def ask_in_child(client: PolarClient, results: multiprocessing.Queue[Any]) -> None:
    results.put((client.customers.get(ID), client.usage.requests))
    client.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_asks_over_a_connection_of_its_own(polar: ScriptedServer, client: PolarClient) -> None:
    client.customers.get(ID)
    # As if another thread were just asking for its session.
    with client._transport._sender.sessions._state.lock:
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=ask_in_child, args=(client, results))
        child.start()
    assert results.get(timeout=10) == ({}, 2)
    child.join(timeout=10)
    assert client.customers.get(ID) == {}
    first, second, third = (each.connection for each in polar.received)
    assert first is third is not second


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_of_a_closed_client_has_a_closed_client(client: PolarClient) -> None:
    client.close()
    pid = os.fork()
    if pid == 0:
        try:
            client.customers.get(ID)
        except ClientClosedError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
