from __future__ import annotations

import gzip
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polar_sync.client import PolarClient, retries
from tests.client.scripted import ScriptedServer

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
REDIS_URL = "redis://127.0.0.1:6379/0"
TOKEN = "polar_oat_" + "T0ken" * 5

MakeClient = Callable[..., PolarClient]


def is_required() -> bool:
    return os.environ.get("POLAR_SYNC_REQUIRE_SERVICES") == "1"


def skip_or_fail(reason: str) -> None:
    if is_required():
        pytest.fail(reason)
    pytest.skip(reason)


def read_exchanges() -> list[dict[str, Any]]:
    """The single exchanges; none where there are no recordings, which `recordings` below reports."""
    path = RECORDINGS / "exchanges.json"
    return list(json.loads(path.read_bytes())) if path.exists() else []


def read_organization() -> Iterator[dict[str, Any]]:
    with gzip.open(RECORDINGS / "organization.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.fixture
def recordings() -> Path:
    if not RECORDINGS.exists():
        skip_or_fail("the recordings are not at ../shared/recordings")
    return RECORDINGS


@pytest.fixture
def redis_url() -> str:
    redis = pytest.importorskip("redis")
    connection = redis.Redis.from_url(REDIS_URL, socket_connect_timeout=1)
    try:
        connection.ping()
    except redis.RedisError as error:
        skip_or_fail(f"no Redis at {REDIS_URL}: {error}")
    finally:
        connection.close()
    return REDIS_URL


@pytest.fixture
def organization() -> str:
    """A name that no other test shares a budget with."""
    return f"test-{uuid.uuid4()}"


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY", 0.005)


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
