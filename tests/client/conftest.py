from __future__ import annotations

import gzip
import json
import signal
import uuid
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from polar_sync.client import PolarClient, clock, retries
from tests.client.scripted import ScriptedServer
from tests.services import RECORDINGS

TOKEN = "polar_oat_" + "T0ken" * 5

MakeClient = Callable[..., PolarClient]


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


def read_exchanges() -> list[dict[str, Any]]:
    """The single exchanges; none where there are no recordings, which `recordings` below reports."""
    path = RECORDINGS / "exchanges.json"
    return list(json.loads(path.read_bytes())) if path.exists() else []


def read_organization() -> Iterator[dict[str, Any]]:
    with gzip.open(RECORDINGS / "organization.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.fixture
def organization() -> str:
    """A name that no other test shares a budget with."""
    return f"test-{uuid.uuid4()}"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY", 0.005)


@pytest.fixture(autouse=True)
def _unknown_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port may have been another server's, whose clock this process still knows."""
    monkeypatch.setattr(clock, "_clocks", {})


@pytest.fixture
def polar() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def make_client(polar: ScriptedServer) -> Iterator[MakeClient]:
    made: list[PolarClient] = []

    def make(**options: Any) -> PolarClient:
        made.append(PolarClient(**{"access_token": TOKEN, "server": polar.url, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def client(make_client: MakeClient) -> PolarClient:
    return make_client()
