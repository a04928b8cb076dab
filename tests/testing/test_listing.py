from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polar_sync.payloads.texts import ONE_ID, SEVERAL_IDS
from polar_sync.testing import FakePolar
from tests.testing.asking import ask, list_ids

TIED = "2026-01-01T00:00:00Z"


def make_tied(*, customers: int = 30, shuffle_ties: bool = False) -> FakePolar:
    polar = FakePolar(seed=1, shuffle_ties=shuffle_ties)
    for number in range(customers):
        polar.create_customer(created_at=TIED, name=f"n{number % 3}")
    return polar


@settings(max_examples=30)
@given(
    limit=st.integers(1, 120),
    sorting=st.lists(st.sampled_from(["created_at", "-created_at", "email", "-email", "name", "-name"])),
    seed=st.integers(0, 3),
)
def test_pages_of_an_organization_at_rest_hold_every_customer_once(limit: int, sorting: list[str], seed: int) -> None:
    polar = FakePolar.generate(seed=seed, customers=57)
    query = "&".join([f"limit={limit}", *(f"sorting={one}" for one in sorting)])
    first = ask(polar, f"/v1/customers/?{query}").json["pagination"]
    assert first == {"total_count": 57, "max_page": -(-57 // min(limit, 100))}
    seen = [one for page in range(1, first["max_page"] + 1) for one in list_ids(polar, f"{query}&page={page}")]
    assert sorted(seen) == sorted(polar.customers)
    assert list_ids(polar, f"{query}&page={first['max_page'] + 1}") == []


def test_default_is_ten_newest_first() -> None:
    polar = FakePolar.generate(seed=1, customers=40)
    items = ask(polar, "/v1/customers/").json["items"]
    created = [item["created_at"] for item in items]
    assert len(items) == 10
    assert created == sorted(created, reverse=True)
    assert polar.customers[-1] in {item["id"] for item in items}


def test_limit_over_a_hundred_is_silently_a_hundred() -> None:
    polar = FakePolar.generate(seed=1, customers=130)
    body = ask(polar, "/v1/customers/?limit=1000").json
    assert len(body["items"]) == 100
    assert body["pagination"] == {"total_count": 130, "max_page": 2}


def test_empty_organization_has_no_pages(polar: FakePolar) -> None:
    assert ask(polar, "/v1/customers/").json == {"items": [], "pagination": {"total_count": 0, "max_page": 0}}


def test_timestamps_with_and_without_fractions_sort_as_instants(polar: FakePolar) -> None:
    late = polar.create_customer(created_at="2026-01-01T00:00:00.5Z")["id"]
    early = polar.create_customer(created_at="2026-01-01T00:00:00Z")["id"]
    latest = polar.create_customer(created_at="2026-01-01T02:00:00+01:00")["id"]
    assert list_ids(polar, "sorting=created_at") == [early, late, latest] == polar.customers


def test_nulls_sort_last_and_first_when_descending(polar: FakePolar) -> None:
    named = polar.create_customer(name="b")["id"]
    nameless = polar.create_customer(name=None)["id"]
    other = polar.create_customer(name="a")["id"]
    assert list_ids(polar, "sorting=name") == [other, named, nameless]
    assert list_ids(polar, "sorting=-name") == [nameless, named, other]


def test_second_criterion_decides_between_equal_ones(polar: FakePolar) -> None:
    ids = [polar.create_customer(name=name, email=email)["id"] for name, email in (("a", "z@x.y"), ("a", "b@x.y"))]
    assert list_ids(polar, "sorting=name&sorting=email") == [ids[1], ids[0]]
    assert list_ids(polar, "sorting=name&sorting=-email") == ids


def test_shuffled_ties_swap_between_pages_and_the_total_stays() -> None:
    polar = make_tied(shuffle_ties=True)
    passes = {tuple(list_ids(polar, "limit=100&sorting=created_at")) for _ in range(5)}
    assert len(passes) > 1
    seen = [one for page in (1, 2, 3) for one in list_ids(polar, f"limit=10&page={page}")]
    assert len(seen) == 30
    assert len(set(seen)) < 30


def test_shuffled_ties_keep_the_order_of_different_keys() -> None:
    polar = make_tied(shuffle_ties=True)
    names = [item["name"] for item in ask(polar, "/v1/customers/?sorting=name&limit=30").json["items"]]
    assert names == sorted(names)


def test_deletion_between_two_pages_hides_one_customer() -> None:
    polar = make_tied(customers=20)
    everybody = polar.customers
    first = list_ids(polar, "sorting=created_at&page=1")
    polar.delete_customer(first[0])
    second = list_ids(polar, "sorting=created_at&page=2")
    assert set(everybody) - set(first) - set(second) == {everybody[10]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("email=ADA%40EXAMPLE.com", "a"),
        ("email=ada", ""),
        ("query=LOVE", "a"),
        ("query=example.org", "b"),
        ("query=billing", "b"),
        ("query=USR_", "ab"),
        ("query=_1", ""),
        ("active=true", "b"),
        ("active=0", "ac"),
        ("metadata[plan]=pro", "a"),
        ("metadata[plan]=pro&metadata[plan]=free", "ab"),
        ("metadata[plan]=free&metadata[seats]=3", "b"),
        ("metadata[plan]=pro&metadata[seats]=3", ""),
        ("metadata[vip]=true", "a"),
        ("metadata[ratio]=0.5", "b"),
        ("metadata%5Bplan%5D=pro", "a"),
        ("metadata[none]=x", ""),
        ("email=&unknown=1", ""),
        ("unknown=1", "abc"),
    ],
)
def test_filters(polar: FakePolar, query: str, expected: str) -> None:
    ids = {
        "a": make_ada(polar),
        "b": polar.create_customer(
            email="b@example.org",
            external_id="usr_2",
            billing_name="The Billing Co",
            metadata={"plan": "free", "seats": 3, "ratio": 0.5},
        )["id"],
        "c": polar.create_customer(external_id=None, type="team")["id"],
    }
    polar.get_record(ids["b"]).other_subscriptions = [{"status": "past_due"}]
    polar.get_record(ids["a"]).other_subscriptions = [{"status": "canceled"}]
    assert set(list_ids(polar, query)) == {ids[name] for name in expected}


def make_ada(polar: FakePolar) -> str:
    fields: dict[str, Any] = {"metadata": {"plan": "pro", "vip": True}, "name": "Ada Lovelace"}
    created: str = polar.create_customer(email="Ada@example.com", external_id="Usr_1", **fields)["id"]
    return created


def test_subscription_in_the_state_makes_a_customer_active(polar: FakePolar) -> None:
    customer = polar.create_customer()
    trial = {**polar.get_state(customer["id"]), "active_subscriptions": [{"id": "s", "status": "trialing"}]}
    polar.replace_state(customer["id"], trial)
    assert list_ids(polar, "active=true") == [customer["id"]]


def test_organization_filter_knows_its_own_and_no_other(polar: FakePolar) -> None:
    customer = polar.create_customer()["id"]
    other = "8e7031c8-3677-4e31-87ba-d6989c4a753f"
    assert list_ids(polar, f"organization_id={polar.organization_id}") == [customer]
    assert list_ids(polar, f"organization_id={other}") == []
    assert list_ids(polar, f"organization_id={other}&organization_id={polar.organization_id.upper()}") == [customer]


@pytest.mark.parametrize(
    ("query", "locations"),
    [
        ("limit=x", [["query", "limit"]]),
        ("page=1.5&limit=0", [["query", "page"], ["query", "limit"]]),
        ("active=perhaps", [["query", "active"]]),
        ("organization_id=nope", [["query", "organization_id", ONE_ID], ["query", "organization_id", SEVERAL_IDS, 0]]),
        ("sorting=name&sorting=modified_at", [["query", "sorting", 1]]),
    ],
)
def test_wrong_parameters_are_422(polar: FakePolar, query: str, locations: list[list[str]]) -> None:
    reply = ask(polar, f"/v1/customers/?{query}")
    assert reply.status == 422
    assert reply.json["error"] == "RequestValidationError"
    assert [detail["loc"] for detail in reply.json["detail"]] == locations


def test_page_number_of_twenty_digits_is_a_server_error(polar: FakePolar) -> None:
    reply = ask(polar, f"/v1/customers/?page={'9' * 20}")
    assert reply.status == 500
    assert reply.headers["content-type"].startswith("text/plain")
    assert ask(polar, f"/v1/customers/?page={'9' * 5000}").status == 422
    assert ask(polar, f"/v1/customers/?limit={'9' * 20}").status == 200
