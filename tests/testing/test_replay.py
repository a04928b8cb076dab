from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polar_sync.testing import FakePolar
from tests.testing.asking import ask, list_items

# The three lists, and the fields that a state cannot tell: which grant came from what, which price is the deprecated
# one's, what a Discord token is just now.
LISTS: dict[str, set[str]] = {
    "/v1/subscriptions/": {"price_id", "price"},
    "/v1/benefit-grants/": {"subscription_id", "order_id", "benefit"},
    "/v1/customer-meters/": set(),
}


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


@pytest.mark.parametrize("path", LISTS)
def test_every_recorded_page_by_customers_is_answered_as_recorded(
    path: str, recorded: list[dict[str, Any]], replayed: FakePolar
) -> None:
    pages = [one for one in recorded if one["path"] == path]
    assert len(pages) >= 10
    for exchange in pages:
        reply = ask(replayed, f"{path}?{urlencode([tuple(pair) for pair in exchange['query']])}")
        assert reply.json == exchange["body"]
        assert reply.polar_headers == exchange["headers"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), path=st.sampled_from(list(LISTS)))
def test_any_customers_get_the_recorded_items_that_are_theirs(
    recorded: list[dict[str, Any]], replayed: FakePolar, data: st.DataObject, path: str
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(replayed.customers), min_size=1, max_size=30))
    items = [item for one in recorded if one["path"] == path for item in one["body"]["items"]]
    expected = {item["id"]: item for item in items if item["customer_id"] in chosen}
    got = list_items(replayed, path, chosen)
    assert {item["id"]: item for item in got} == expected
    assert len(got) == len(expected)


@pytest.mark.parametrize("path", LISTS)
def test_items_made_from_the_recorded_states_are_the_recorded_items(
    path: str, recorded: list[dict[str, Any]], recorded_organization: Path
) -> None:
    polar = FakePolar.replay(recorded_organization)
    for record in polar.store:
        record.listed = {}
        polar.store.touch(record)
    items = [item for one in recorded if one["path"] == path for item in one["body"]["items"]]
    differing: set[str] = set()
    made: dict[str, Any] = {}
    for start in range(0, 950, 50):
        for page in (1, 2):
            query = f"limit=100&page={page}"
            made |= {one["id"]: one for one in list_items(polar, path, polar.customers[start : start + 50], query)}
    assert made.keys() == {item["id"] for item in items}
    for item in items:
        own = made[item["id"]]
        assert list(own) == list(item)
        differing |= {name for name in item if own[name] != item[name]}
        if path == "/v1/benefit-grants/":
            assert drop_token(own["benefit"]) == drop_token(item["benefit"])
    assert differing == LISTS[path]


def drop_token(benefit: dict[str, Any]) -> dict[str, Any]:
    """Without what Discord renews; the recording itself stays as it is for the other tests."""
    kept = {name: value for name, value in benefit["properties"].items() if name != "guild_token"}
    return {**benefit, "properties": kept}


def test_catalogues_are_what_the_recorded_items_nest(replayed: FakePolar) -> None:
    assert {one["name"] for one in list_items(replayed, "/v1/products/")} == {"Basic", "Free", "Metered", "Pro yearly"}
    assert len(list_items(replayed, "/v1/benefits/")) == 7
    assert [one["name"] for one in list_items(replayed, "/v1/meters/")] == ["API calls", "Tokens"]


def test_replayed_lists_follow_what_changes(recorded_organization: Path) -> None:
    polar = FakePolar.replay(recorded_organization)
    items = list_items(polar, "/v1/subscriptions/")
    own = items[0]["customer_id"]
    polar.update_customer(own, name="Ångström")
    polar.update_product(items[0]["product_id"], name="Renamed")
    polar.add_field("subscription", "brand_new", 1, where="lists")
    item = next(one for one in list_items(polar, "/v1/subscriptions/", [own]) if one["id"] == items[0]["id"])
    assert (item["customer"]["name"], item["user"]["public_name"]) == ("Ångström", "Å")
    assert (item["product"]["name"], item["brand_new"]) == ("Renamed", 1)
    polar.archive_meter(polar.meters[0]["id"])
    meters = [one["meter_id"] for one in list_items(polar, "/v1/customer-meters/", polar.customers[:50])]
    assert set(meters) == {polar.meters[1]["id"]}
    polar.replace_state(own, {**polar.get_state(own), "active_subscriptions": []})
    assert list_items(polar, "/v1/subscriptions/", [own]) == []


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
