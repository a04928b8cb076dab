from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from polar_sync.testing import FakePolar
from polar_sync.testing.deliveries import FILTERS
from polar_sync.testing.sender import Response
from tests.testing.asking import ask, list_items
from tests.testing.conftest import find_shared
from tests.testing.test_webhook_operations import NOBODY, validate

PATH = "/v1/webhooks/deliveries"


@pytest.fixture(scope="session")
def recorded() -> list[dict[str, Any]]:
    """The exchanges of the recorded deliveries, first the endpoints."""
    path: Path = find_shared("recordings/deliveries.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def sent(polar: FakePolar) -> FakePolar:
    """Six deliveries: 200 and 404 for one endpoint, 503, 503 and 200 for another, and one that was not reached."""
    answers = iter([200, 404, 503, 503, 200, None])
    polar.webhooks.post = lambda *_: Response(next(answers), None)
    polar.webhooks.retry_delays = ()
    polar.webhooks.sender.is_background = False
    first = polar.webhooks.add_endpoint("http://127.0.0.1:9/first", events=["customer.created", "customer.updated"])
    own = polar.create_customer()["id"]
    polar.update_customer(own, name="Ada")
    polar.webhooks.flush()
    polar.webhooks.update_endpoint(first, enabled=False)
    second = polar.webhooks.add_endpoint("http://127.0.0.1:9/second", events=["product.updated"])
    for _ in range(4):
        polar.update_product(polar.products[0])
    polar.webhooks.flush()
    assert [one.http_code for one in polar.webhooks.deliveries] == [200, 404, 503, 503, 200, None]
    assert polar.webhooks.endpoints == [first, second]
    return polar


def list_codes(polar: FakePolar, query: str) -> list[int | None]:
    return [one["http_code"] for one in list_items(polar, PATH, query=query)]


def test_recorded_deliveries_are_served_as_they_were_recorded(polar: FakePolar, recorded: list[dict[str, Any]]) -> None:
    (endpoint,) = recorded[0]["endpoints"]["items"]
    exchanges = [one for one in recorded[1:] if one["path"] == PATH]
    polar.webhooks.add_endpoint(**endpoint)
    polar.webhooks.load_deliveries(one for exchange in exchanges for one in exchange["body"]["items"])
    assert ask(polar, "/v1/webhooks/endpoints").json["items"] == [endpoint]
    for exchange in exchanges:
        query = "&".join(f"{name}={quote(value)}" for name, value in exchange["query"])
        reply = ask(polar, f"{PATH}?{query}&endpoint_id={endpoint['id']}")
        assert reply.json == exchange["body"]
        # The order of fields too.
        assert reply.json["items"] == [] or list(reply.json["items"][0]) == list(exchange["body"]["items"][0])


def test_deliveries_made_here_have_the_fields_of_recorded_ones(
    sent: FakePolar, recorded: list[dict[str, Any]], contract: dict[str, Any]
) -> None:
    page = ask(sent, PATH).json
    validate(contract, "ListResource_WebhookDelivery_", page)
    example = next(one for one in recorded[1:] if one["path"] == PATH)["body"]["items"][0]
    for item in page["items"]:
        assert list(item) == list(example)
        assert list(item["webhook_event"]) == list(example["webhook_event"])


def test_deliveries_come_newest_first(sent: FakePolar) -> None:
    items = list_items(sent, PATH, query="limit=100")
    times = [datetime.fromisoformat(one["created_at"]) for one in items]
    assert all(later > earlier for later, earlier in pairwise(times))
    assert [one["http_code"] for one in items] == [None, 200, 503, 503, 404, 200]


def test_pages_hold_each_delivery_once(sent: FakePolar) -> None:
    pages = [ask(sent, f"{PATH}?limit=4&page={page}").json for page in (1, 2, 3)]
    assert [len(page["items"]) for page in pages] == [4, 2, 0]
    assert {page["pagination"]["max_page"] for page in pages} == {2}
    assert len({one["id"] for page in pages for one in page["items"]}) == 6


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("endpoint_id={first}", [404, 200]),
        ("endpoint_id={first}&endpoint_id={second}&succeeded=true", [200, 200]),
        (f"endpoint_id={NOBODY}", []),
        ("succeeded=false", [None, 503, 503, 404]),
        ("http_code_class=5xx", [503, 503]),
        ("http_code_class=3xx", []),
        ("http_code_class=4xx&http_code_class=2xx", [200, 200]),
        ("event_type=customer.created", [200]),
        ("event_type=customer.created&event_type=customer.updated", [404, 200]),
        ("query={event}", [200]),
    ],
)
def test_filters(sent: FakePolar, query: str, expected: list[int | None]) -> None:
    first, second = sent.webhooks.endpoints
    event = sent.webhooks.events[0].id.upper()
    filled = query.format(first=first.id, second=second.id, event=event)
    assert list_codes(sent, f"{filled}&limit=100") == expected


def test_query_looks_into_the_status_too(sent: FakePolar) -> None:
    # An id may hold these digits as well.
    assert 404 in list_codes(sent, "query=404")
    assert list_codes(sent, "query=nothing") == []


def test_both_timestamps_are_exclusive(sent: FakePolar) -> None:
    times = [one["created_at"] for one in list_items(sent, PATH, query="limit=100")][::-1]
    assert list_codes(sent, f"start_timestamp={times[2]}") == [None, 200, 503]
    assert list_codes(sent, f"end_timestamp={times[2]}") == [404, 200]
    just_after = datetime.fromisoformat(times[2]) + timedelta(microseconds=1)
    assert list_codes(sent, f"end_timestamp={quote(just_after.isoformat())}") == [503, 404, 200]
    assert list_codes(sent, f"start_timestamp={times[0]}&end_timestamp={times[2]}") == [404]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("start_timestamp=yesterday", ("datetime_from_date_parsing", ["query", "start_timestamp"])),
        ("end_timestamp=2026-01-01T00:00:00", ("timezone_aware", ["query", "end_timestamp"])),
        ("http_code_class=6xx", ("enum", ["query", "http_code_class"])),
        ("event_type=x", ("enum", ["query", "event_type", 0])),
        ("succeeded=perhaps", ("bool_parsing", ["query", "succeeded"])),
        ("limit=0", ("greater_than", ["query", "limit"])),
    ],
)
def test_wrong_parameters_are_422(polar: FakePolar, query: str, error: tuple[str, list[str]]) -> None:
    reply = ask(polar, f"{PATH}?{query}")
    assert (reply.status, reply.json["error"]) == (422, "RequestValidationError")
    assert [(one["type"], one["loc"]) for one in reply.json["detail"]] == [error]


def test_parameters_are_those_of_the_contract(contract: dict[str, Any]) -> None:
    names = {one["name"] for one in contract["paths"][PATH]["get"]["parameters"]}
    assert {*FILTERS, "page", "limit"} == names


def test_deliveries_of_a_deleted_endpoint_are_listed_without_its_id_only(sent: FakePolar) -> None:
    first = sent.webhooks.endpoints[0]
    sent.webhooks.delete_endpoint(first)
    assert len(list_codes(sent, "limit=100")) == 6
    assert list_codes(sent, f"endpoint_id={first.id}") == []


def test_every_attempt_shows_its_event_as_it_is_now(polar: FakePolar) -> None:
    answers = iter([500, 200])
    polar.webhooks.post = lambda *_: Response(next(answers), "said")
    polar.webhooks.add_endpoint("http://127.0.0.1:9/", events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    newest, oldest = list_items(polar, PATH)
    assert newest["webhook_event"] == oldest["webhook_event"]
    assert (oldest["succeeded"], oldest["webhook_event"]["succeeded"]) == (False, True)
    assert newest["webhook_event"]["last_http_code"] == 200


def test_loaded_deliveries_need_an_endpoint_and_may_be_archived_and_sent_again(
    polar: FakePolar, recorded: list[dict[str, Any]]
) -> None:
    items = next(one for one in recorded[1:] if one["path"] == PATH)["body"]["items"][:5]
    with pytest.raises(ValueError, match="endpoint"):
        polar.webhooks.load_deliveries(items)
    sent: list[bytes] = []

    def post(_: str, __: dict[str, str], body: bytes, ___: float) -> Response:
        sent.append(body)
        return Response(200, None)

    polar.webhooks.post = post
    polar.webhooks.add_endpoint("http://127.0.0.1:9/", events=[])
    polar.webhooks.load_deliveries(items)
    gone, kept = items[0]["webhook_event"], items[1]["webhook_event"]
    polar.webhooks.archive(gone["id"])
    for one in (gone, kept):
        polar.webhooks.redeliver(one["id"])
    polar.webhooks.wait_until_sent()
    assert sent == [kept["payload"].encode()]
    listed = {one["id"]: one["webhook_event"] for one in list_items(polar, PATH, query="limit=100")}
    assert len(listed) == 6
    assert (listed[items[0]["id"]]["payload"], listed[items[0]["id"]]["is_archived"]) == (None, True)
