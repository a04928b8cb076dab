from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from polar_sync.testing import FakePolar
from tests.testing.asking import ask


@pytest.fixture(scope="module")
def recorded(recorded_organization: Path) -> list[dict[str, Any]]:
    with gzip.open(recorded_organization, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def replayed(recorded_organization: Path) -> FakePolar:
    return FakePolar.replay(recorded_organization)


def test_every_recorded_customer_and_state_is_answered_as_recorded(
    recorded: list[dict[str, Any]], replayed: FakePolar
) -> None:
    single = [one for one in recorded if one["path"].startswith("/v1/customers/") and not one["query"]]
    customers = [one for one in single if not one["path"].endswith("/export")]
    assert len(customers) == 2 * 950
    for exchange in customers:
        reply = ask(replayed, exchange["path"])
        assert reply.json == exchange["body"]
        assert reply.polar_headers == exchange["headers"]


def test_every_recorded_list_page_is_answered_as_recorded(recorded: list[dict[str, Any]], replayed: FakePolar) -> None:
    pages = [one for one in recorded if one["path"] == "/v1/customers/"]
    assert len(pages) == 10
    for exchange in pages:
        query = "&".join(f"{name}={value}" for name, value in exchange["query"])
        assert ask(replayed, f"/v1/customers/?{query}").json == exchange["body"]


def test_export_is_answered_as_recorded(recorded: list[dict[str, Any]], replayed: FakePolar) -> None:
    exchange = next(one for one in recorded if one["path"] == "/v1/customers/export")
    reply = ask(replayed, "/v1/customers/export")
    assert reply.body.decode() == exchange["body"]
    assert reply.polar_headers == exchange["headers"]
    assert len(list(csv.reader(io.StringIO(reply.body.decode(), newline="")))) == 951


def test_replayed_organization_can_be_changed(recorded_organization: Path) -> None:
    polar = FakePolar.replay(recorded_organization)
    first = polar.customers[0]
    polar.update_customer(first, name="Changed")
    assert ask(polar, f"/v1/customers/{first}/state").json["name"] == "Changed"
    polar.delete_customer(first)
    assert ask(polar, "/v1/customers/").json["pagination"]["total_count"] == 949


def test_recording_without_customers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="no page"):
        FakePolar.replay(path)
