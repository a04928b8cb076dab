from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polar_sync.testing import FakePolar
from tests.services import SHARED, miss
from tests.testing.receiver import Receiver


def find_shared(name: str) -> Path:
    """A file of the recordings or the contract; without it the test skips, or fails where all is required."""
    path = SHARED / name
    if not path.exists():
        miss(f"../shared/{name} is absent")
    return path


@pytest.fixture
def polar() -> FakePolar:
    return FakePolar(seed="tests")


@pytest.fixture(scope="session")
def exchanges() -> dict[str, dict[str, Any]]:
    content = json.loads(find_shared("recordings/exchanges.json").read_text("utf-8"))
    return {exchange["name"]: exchange for exchange in content}


@pytest.fixture(scope="session")
def recorded_organization() -> Path:
    return find_shared("recordings/organization.jsonl.gz")


@pytest.fixture(scope="session")
def contract() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(find_shared("polar-openapi.json").read_text("utf-8"))
    return loaded


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running
