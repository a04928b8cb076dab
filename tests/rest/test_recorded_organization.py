"""950 recorded customers, mirrored and asked for again: the answers are the recorded ones."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from polar_sync.payloads.values import read_timestamp
from polar_sync.testing import FakePolar
from tests.factories import normalize_state

pytestmark = pytest.mark.django_db
Exchange = dict[str, Any]


@pytest.fixture(scope="module")
def traffic(recordings: Path) -> list[Exchange]:
    with gzip.open(recordings / "organization.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def normalize_customer(customer: dict[str, Any]) -> Any:
    return normalize_state({**customer, "active_subscriptions": [], "granted_benefits": [], "active_meters": []})


def index(customers: list[dict[str, Any]]) -> dict[str, Any]:
    return {customer["id"]: normalize_customer(customer) for customer in customers}


def test_get_and_state_answer_what_polar_answered(traffic: list[Exchange], mirrored: FakePolar, api: Client) -> None:
    asked = [
        exchange for exchange in traffic if exchange["path"].startswith("/v1/customers/") and not exchange["query"]
    ]
    asked = [exchange for exchange in asked if not exchange["path"].endswith("/export")]
    assert len(asked) == 1900
    for exchange in asked:
        answer = api.get(f"/polar{exchange['path']}")
        assert answer.status_code == 200
        normalize = normalize_state if exchange["path"].endswith("/state") else normalize_customer
        assert normalize(answer.json()) == normalize(exchange["body"])
        if exchange["path"].endswith("/state"):
            assert list_ages(answer.json()) == list_ages(exchange["body"])


def list_ages(state: dict[str, Any]) -> list[list[str]]:
    """When meters were created, in their order, which is one of the few things that Polar orders."""
    subscriptions = sorted(state["active_subscriptions"], key=lambda one: str(one["id"]))
    arrays = [state["active_meters"], *(one["meters"] for one in subscriptions)]
    return [[meter["created_at"] for meter in meters] for meters in arrays]


def test_external_ids_lead_to_the_same_answers(traffic: list[Exchange], mirrored: FakePolar, api: Client) -> None:
    states = [exchange["body"] for exchange in traffic if exchange["path"].endswith("/state")]
    known = [state for state in states if state["external_id"] is not None]
    # All that have to be quoted, and some of the others, whose answers the test above has compared by id.
    quoted = [state for state in known if quote(state["external_id"], safe="") != state["external_id"]]
    assert any("/" in state["external_id"] for state in quoted)
    known = [*quoted, *known[::10]]
    for state in known:
        path = f"/polar/v1/customers/external/{quote(state['external_id'], safe='')}"
        customer = {key: value for key, value in state.items() if not key.startswith(("active_", "granted_"))}
        assert normalize_customer(api.get(path).json()) == normalize_customer(customer)
        assert normalize_state(api.get(f"{path}/state").json()) == normalize_state(state)


def test_list_walked_over_all_pages_has_everybody_in_order(
    traffic: list[Exchange], mirrored: FakePolar, api: Client
) -> None:
    pages = [exchange for exchange in traffic if exchange["path"] == "/v1/customers/"]
    assert len(pages) == 10
    ours, theirs = [], []
    for page in pages:
        answer = api.get(f"/polar/v1/customers/?{urlencode(dict(page['query']))}").json()
        assert answer["pagination"] == page["body"]["pagination"]
        assert len(answer["items"]) == len(page["body"]["items"])
        ours += answer["items"]
        theirs += page["body"]["items"]
    assert index(ours) == index(theirs)
    assert len(ours) == len(index(ours))
    keys = [(read_timestamp(item["created_at"]), item["id"]) for item in ours]
    assert keys == sorted(keys)


def test_export_has_the_recorded_rows_and_a_sane_tax_id(
    traffic: list[Exchange], mirrored: FakePolar, api: Client
) -> None:
    recorded = next(exchange["body"] for exchange in traffic if exchange["path"].endswith("/export"))
    answer = api.get("/polar/v1/customers/export")
    text = answer.getvalue().decode()
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="polar-customers.csv"'
    assert text.startswith(recorded.partition("\n")[0])
    assert text.count("\r\n") == recorded.count("\r\n") > 950
    ours, theirs = get_rows(text), get_rows(recorded)
    assert ours.keys() == theirs.keys()
    for key, row in theirs.items():
        number = row.pop("Tax ID")
        assert ours[key].pop("Tax ID") == (number.split("'")[1] if number else "")
        assert ours[key] == row


def get_rows(text: str) -> dict[str, Any]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return {row["ID"]: row for row in rows}
