from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polar_sync.payloads.texts import ONE_ID, SEVERAL_IDS
from polar_sync.testing import FakePolar
from polar_sync.testing.http import ROUTES
from polar_sync.testing.lists import CATALOGUE_LISTS, CUSTOMER_LISTS, ROW_LISTS
from tests.testing.asking import ask, get_frozen_now, list_items

NOBODY = "7d444840-9dc0-4111-8111-000000000000"
PATHS = {route.operation: route.pattern.pattern for route in ROUTES if route.operation in ROW_LISTS}
# The list of each array of a state, and how the rows that a state shows are asked for.
ARRAYS = {
    "active_subscriptions": ("/v1/subscriptions/", "status=active&status=trialing"),
    "granted_benefits": ("/v1/benefit-grants/", "is_granted=true"),
    "active_meters": ("/v1/customer-meters/", "page=1"),
}
TIED = "2026-01-01T00:00:00Z"


def narrow(item: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """What a list's item says about the fields that the state's object has."""
    known = {**item}
    if "benefit" in item:
        known |= {"benefit_type": item["benefit"]["type"], "benefit_metadata": item["benefit"]["metadata"]}
    if "meters" in item:
        known["meters"] = [
            {name: one[name] for name in own} for one, own in zip(item["meters"], child["meters"], strict=True)
        ]
    return {name: known[name] for name in child}


def ask_all(polar: FakePolar, path: str, query: str, customers: Sequence[str]) -> list[Any]:
    """All rows of these customers, asked for fewer of them where an answer does not fit one page."""
    asked = "".join(f"&customer_id={one}" for one in customers)
    body = ask(polar, f"{path}?{query}&limit=100{asked}").json
    if body["pagination"]["max_page"] <= 1:
        assert len(body["items"]) == body["pagination"]["total_count"]
        return list(body["items"])
    half = len(customers) // 2
    return ask_all(polar, path, query, customers[:half]) + ask_all(polar, path, query, customers[half:])


@settings(max_examples=25)
@given(seed=st.integers(0, 5), data=st.data(), name=st.sampled_from(list(ARRAYS)))
def test_rows_of_any_partition_of_the_customers_are_what_their_states_hold(
    seed: int, data: st.DataObject, name: str
) -> None:
    polar = FakePolar.generate(seed=seed, customers=60, shuffle_ties=True, shows_deleted=True)
    path, query = ARRAYS[name]
    remaining = data.draw(st.permutations(polar.customers))
    rows: list[Any] = []
    while remaining:
        size = data.draw(st.integers(1, len(remaining)))
        rows += ask_all(polar, path, query, remaining[:size])
        remaining = remaining[size:]
    states = [polar.get_state(one) for one in polar.customers]
    children = {child["id"]: (state, child) for state in states for child in state[name]}
    assert len(rows) == len(children)
    for row in rows:
        state, child = children[row["id"]]
        assert json.dumps(narrow(row, child)) == json.dumps(child)
        assert row["customer_id"] == state["id"]
        assert row["customer"] == polar.get_customer(state["id"])


@pytest.mark.parametrize("operation", ROW_LISTS)
def test_list_needs_its_own_scope_and_says_which(polar: FakePolar, operation: str, contract: dict[str, Any]) -> None:
    path = PATHS[operation]
    scopes = next(one["oat"] for one in contract["paths"][path]["get"]["security"] if "oat" in one)
    assert ask(polar, path).status == 200
    reply = ask(polar, path, token=polar.create_token(["customers:read", "customers:write"]))
    assert (reply.status, reply.json["error"]) == (403, "insufficient_scope")
    assert f'scope="{" ".join(scopes)}"' in reply.headers["www-authenticate"]
    for scope in scopes:
        assert ask(polar, path, token=polar.create_token([scope])).status == 200
    assert polar.counts == {operation: 2 + len(scopes)}


@pytest.mark.parametrize("operation", ROW_LISTS)
def test_list_takes_the_parameters_of_the_contract(operation: str, contract: dict[str, Any]) -> None:
    spec = ({**CUSTOMER_LISTS, **CATALOGUE_LISTS})[operation][0]
    parameters = {one["name"]: one for one in contract["paths"][PATHS[operation]]["get"]["parameters"]}
    assert {*spec.filters, *spec.not_served, "page", "limit", "sorting"} == parameters.keys()
    assert parameters["sorting"]["schema"]["default"] == [spec.sorting]
    reference = parameters["sorting"]["schema"]["anyOf"][0]["items"]["$ref"].rpartition("/")[2]
    criteria = contract["components"]["schemas"][reference]["enum"]
    assert [one for one in criteria if not one.startswith("-")] == list(spec.sort_keys)


@pytest.mark.parametrize("operation", ROW_LISTS)
@pytest.mark.parametrize("shuffle_ties", [False, True])
def test_every_criterion_sorts_and_pages_hold_every_row_at_rest(operation: str, shuffle_ties: bool) -> None:
    polar = FakePolar.generate(seed=3, customers=40)
    path = PATHS[operation]
    everything = {row["id"] for page in (1, 2, 3) for row in list_items(polar, path, query=f"limit=100&page={page}")}
    for criterion in ({**CUSTOMER_LISTS, **CATALOGUE_LISTS})[operation][0].sort_keys:
        pages = [list_items(polar, path, query=f"sorting={criterion}&limit=30&page={page}") for page in range(1, 9)]
        rows = [row for page in pages for row in page]
        assert {row["id"] for row in rows} == everything
        assert len(rows) == len(everything)
        values = [row[criterion] for row in rows if isinstance(row.get(criterion), int | float)]
        assert values == sorted(values)


def test_subscriptions_come_newest_first_and_meters_last_changed_first() -> None:
    polar = FakePolar.generate(seed=1, customers=60)
    started = [datetime.fromisoformat(one["started_at"]) for one in list_items(polar, "/v1/subscriptions/")]
    assert started == sorted(started, reverse=True)
    changed = [one["modified_at"] for one in list_items(polar, "/v1/customer-meters/", query="limit=60")]
    # Null is the greatest value of all.
    assert changed.index(next(filter(None, changed))) == changed.count(None) > 0


def test_second_criterion_decides_between_equal_ones() -> None:
    polar = FakePolar.generate(seed=1, customers=60)
    rows = list_items(polar, "/v1/subscriptions/", query="sorting=status&sorting=-amount&sorting=customer&limit=100")
    order = ["trialing", "active", "past_due"]
    keys = [
        (
            order.index(one["status"]),
            one["status"] == "active" and one["cancel_at_period_end"],
            -one["amount"],
            one["customer"]["email"] or "~",
        )
        for one in rows
    ]
    assert keys == sorted(keys)
    assert len({key[:3] for key in keys}) < len(keys)


def make_tied(*, shuffle_ties: bool) -> FakePolar:
    polar = FakePolar(seed=1, shuffle_ties=shuffle_ties)
    for number in range(6):
        children = [
            {"id": f"{number}-{index}", "created_at": TIED, "modified_at": TIED, "started_at": TIED, "status": "active"}
            for index in range(7)
        ]
        polar.put_state({**polar.create_customer(), **dict.fromkeys(ARRAYS, children)})
    return polar


@pytest.mark.parametrize("name", list(ARRAYS))
@pytest.mark.parametrize("is_narrowed", [False, True])
def test_shuffled_ties_lose_rows_between_pages_and_the_total_stays(name: str, is_narrowed: bool) -> None:
    path, query = ARRAYS[name]
    for shuffle_ties in (False, True):
        polar = make_tied(shuffle_ties=shuffle_ties)
        customers = "".join(f"&customer_id={one}" for one in polar.customers) if is_narrowed else ""
        asked = f"{path}?{query.replace('page=1', '')}&limit=10{customers}"
        bodies = [ask(polar, f"{asked}&page={page}").json for page in (1, 2, 3, 4, 5)]
        seen = [item["id"] for body in bodies for item in body["items"]]
        assert {body["pagination"]["total_count"] for body in bodies} == {42} == {len(seen)}
        assert (len(set(seen)) < 42) is shuffle_ties


def test_past_due_subscription_is_in_the_list_and_in_no_state() -> None:
    polar = FakePolar.generate(seed=1, customers=100, clock=get_frozen_now)
    overdue = list_items(polar, "/v1/subscriptions/", query="status=past_due&limit=100")
    assert overdue
    assert {one["status"] for one in overdue} == {"past_due"}
    assert all(one["past_due_at"] for one in overdue)
    shown = {one["id"] for own in polar.customers for one in polar.get_state(own)["active_subscriptions"]}
    assert shown.isdisjoint(one["id"] for one in overdue)
    own = overdue[0]["customer_id"]
    assert overdue[0] in list_items(polar, "/v1/subscriptions/", [own])
    polar.set_other_subscriptions(own, [])
    assert overdue[0] not in list_items(polar, "/v1/subscriptions/", [own])


def test_revoked_grant_is_in_the_list_unless_granted_ones_are_asked_for() -> None:
    polar = FakePolar.generate(seed=1, customers=100, clock=get_frozen_now)
    revoked = list_items(polar, "/v1/benefit-grants/", query="is_granted=false&limit=100")
    assert revoked
    assert {(one["is_granted"], one["granted_at"], one["is_revoked"]) for one in revoked} == {(False, None, True)}
    own = revoked[0]["customer_id"]
    assert revoked[0] in list_items(polar, "/v1/benefit-grants/", [own])
    assert revoked[0] not in list_items(polar, "/v1/benefit-grants/", [own], "is_granted=true&limit=100")
    polar.set_other_grants(own, [])
    assert revoked[0] not in list_items(polar, "/v1/benefit-grants/", [own])


@pytest.mark.parametrize("shows_deleted", [False, True])
def test_rows_of_a_deleted_customer_go_or_stay(shows_deleted: bool) -> None:
    polar = FakePolar.generate(seed=1, customers=60)
    states = {one: polar.get_state(one) for one in polar.customers}
    own = next(one for one, state in states.items() if all(state[name] for name in ARRAYS))
    polar.prepare()
    polar.delete_customer(own, anonymize=True)
    polar.shows_deleted = shows_deleted
    for name, (path, _) in ARRAYS.items():
        rows = list_items(polar, path, [own])
        stays = shows_deleted and name != "active_subscriptions"
        assert len(rows) == (len(states[own][name]) if stays else 0)
        assert all(row["customer"]["deleted_at"] and row["customer"]["external_id"] is None for row in rows)
        pages = [list_items(polar, path, query=f"limit=100&page={page}") for page in (1, 2, 3)]
        assert any(row["customer_id"] == own for page in pages for row in page) is stays


def test_listed_price_may_be_another_than_that_of_the_state() -> None:
    polar = FakePolar.generate(seed=1, customers=60)
    states = [polar.get_state(one) for one in polar.customers]
    prices = {one["id"]: one["price_id"] for state in states for one in state["active_subscriptions"]}
    asked = "status=active&status=trialing&limit=100"
    assert {one["id"]: one["price_id"] for one in list_items(polar, "/v1/subscriptions/", query=asked)} == prices
    polar.lists_other_price = True
    rows = list_items(polar, "/v1/subscriptions/", query=asked)
    differing = [one for one in rows if one["price_id"] != prices[one["id"]]]
    assert {one["id"] for one in differing} == {one["id"] for one in rows if len(one["prices"]) > 1} != set()
    assert all(one["price"]["id"] == one["price_id"] for one in rows)
    assert all(one["price"] in one["prices"] for one in rows)


def test_discord_token_is_signed_anew_and_shown_by_nested_benefits_too() -> None:
    times = [datetime(2026, 6, 1, tzinfo=UTC)]
    polar = FakePolar.generate(seed=1, customers=60, clock=lambda: times[-1])
    benefit = next(one["id"] for one in polar.benefits if one["type"] == "discord")

    def collect() -> set[str]:
        products = list_items(polar, "/v1/products/") + [
            one["product"] for one in list_items(polar, "/v1/subscriptions/")
        ]
        shown = [one for product in products for one in product["benefits"]]
        shown += list_items(polar, "/v1/benefits/")
        shown += [one["benefit"] for one in list_items(polar, "/v1/benefit-grants/")]
        tokens = [one["properties"]["guild_token"] for one in shown if one["id"] == benefit]
        assert len(tokens) > 3
        return set(tokens)

    first = collect()
    assert len(first) == 1
    assert collect() == first
    times.append(times[-1] + timedelta(seconds=1))
    assert collect().isdisjoint(first)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/subscriptions/", "status=active", "a"),
        ("/v1/subscriptions/", "status=active&status=past_due", "ac"),
        ("/v1/subscriptions/", "active=true", "ab"),
        ("/v1/subscriptions/", "active=false", "cd"),
        ("/v1/subscriptions/", "cancel_at_period_end=yes", "b"),
        ("/v1/subscriptions/", f"product_id={NOBODY}", "b"),
        ("/v1/subscriptions/", "external_customer_id=usr_1", "abcd"),
        ("/v1/subscriptions/", "external_customer_id=USR_1", ""),
        ("/v1/subscriptions/", "customer_id={own}", "abcd"),
        ("/v1/subscriptions/", "customer_id={OWN}&status=trialing", "b"),
        ("/v1/subscriptions/", "customer_id={own}&customer_id={own}", "abcd"),
        ("/v1/subscriptions/", f"customer_id={NOBODY}", ""),
        ("/v1/subscriptions/", "customer_id={own}&external_customer_id=other", ""),
        ("/v1/subscriptions/", "organization_id={organization}", "abcd"),
        ("/v1/subscriptions/", f"organization_id={NOBODY}", ""),
        ("/v1/subscriptions/", "unknown=1", "abcd"),
        ("/v1/customer-meters/", f"meter_id={NOBODY}", "m"),
        ("/v1/customer-meters/", "customer_id={own}", "mn"),
    ],
)
def test_filters(polar: FakePolar, path: str, query: str, expected: str) -> None:
    other = "0d6b3a4e-6a1a-4a37-9bd0-8f4ac7ae4b11"
    own = polar.create_customer(external_id="usr_1")
    polar.put_state(
        {
            **own,
            "active_subscriptions": [
                {"id": "a", "status": "active", "product_id": other},
                {"id": "b", "status": "trialing", "product_id": NOBODY, "cancel_at_period_end": True},
            ],
            "active_meters": [{"id": "m", "meter_id": NOBODY}, {"id": "n", "meter_id": other}],
        }
    )
    polar.set_other_subscriptions(own["id"], [{"id": "c", "status": "past_due"}, {"id": "d", "status": "canceled"}])
    asked = query.format(own=own["id"], OWN=own["id"].upper(), organization=polar.organization_id)
    assert {item["id"] for item in list_items(polar, path, query=asked)} == set(expected)


def test_subscription_of_a_state_is_active_whatever_its_status(polar: FakePolar) -> None:
    own = polar.create_customer()
    polar.put_state({**own, "active_subscriptions": [{"id": "a", "status": "grace"}]})
    polar.set_other_subscriptions(own["id"], [{"id": "b", "status": "grace"}])
    assert [one["id"] for one in list_items(polar, "/v1/subscriptions/", query="active=true")] == ["a"]
    assert list_items(polar, "/v1/subscriptions/", query="status=active&status=trialing") == []


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/v1/products/", "query=MET", {"Metered"}),
        ("/v1/products/", "is_archived=true", set()),
        ("/v1/products/", "visibility=private", set()),
        ("/v1/products/", "is_recurring=true&query=pass", {"Day pass"}),
        ("/v1/benefits/", "type=discord&type=custom", {"Private channel", "Priority support"}),
        ("/v1/benefits/", "query=tokens", {"1000 tokens"}),
        ("/v1/meters/", "query=call", {"API calls"}),
        ("/v1/meters/", "is_archived=true", set()),
        ("/v1/meters/", "limit=1", {"API calls"}),
    ],
)
def test_filters_of_the_catalogues(polar: FakePolar, path: str, query: str, expected: set[str]) -> None:
    items = list_items(polar, path, query=query)
    assert {item["description" if path == "/v1/benefits/" else "name"] for item in items} == expected


@pytest.mark.parametrize(
    ("query", "locations"),
    [
        ("status=active&status=alive", [["query", "status", 1]]),
        (
            f"customer_id={NOBODY}&customer_id=x",
            [["query", "customer_id", ONE_ID], ["query", "customer_id", SEVERAL_IDS, 1]],
        ),
        ("limit=0&page=x", [["query", "page"], ["query", "limit"]]),
        ("sorting=created_at", [["query", "sorting", 0]]),
        ("active=perhaps", [["query", "active"]]),
    ],
)
def test_wrong_parameters_are_422(polar: FakePolar, query: str, locations: list[list[Any]]) -> None:
    reply = ask(polar, f"/v1/subscriptions/?{query}")
    assert (reply.status, reply.json["error"]) == (422, "RequestValidationError")
    assert [detail["loc"] for detail in reply.json["detail"]] == locations


def test_filter_that_polar_has_and_this_server_has_not_is_an_error(polar: FakePolar) -> None:
    for query in ("metadata[plan]=pro", "started_after=2026-01-01"):
        with pytest.raises(NotImplementedError, match="leave it out"):
            ask(polar, f"/v1/subscriptions/?{query}")


def test_page_beyond_the_last_is_empty_and_one_of_twenty_digits_a_server_error() -> None:
    polar = FakePolar.generate(seed=1, customers=10)
    assert list_items(polar, "/v1/customer-meters/", query="page=999") == []
    assert ask(polar, f"/v1/customer-meters/?page={'9' * 20}").status == 500
    assert len(list_items(polar, "/v1/benefit-grants/", query="page=1")) == 10


def test_rows_follow_every_change_of_their_customer(polar: FakePolar) -> None:
    own = polar.create_customer(name="One")
    child = {"id": "s", "status": "active", "started_at": TIED}
    for name in ("Two", "Three"):
        polar.put_state({**polar.get_state(own["id"]), "active_subscriptions": [{**child, "amount": len(name)}]})
        first = list_items(polar, "/v1/subscriptions/")[0]
        polar.update_customer(own["id"], name=name)
        second = list_items(polar, "/v1/subscriptions/", [own["id"]])[0]
        assert (first["amount"], second["customer"]["name"], second["user"]["public_name"]) == (len(name), name, "T")


@pytest.mark.parametrize("hostile", [None, 5, "text", {}, [5], [None, {"id": "s"}], [{"id": ["x"], "meters": 5}]])
def test_states_that_are_nonsense_are_listed_as_far_as_they_can_be(polar: FakePolar, hostile: Any) -> None:
    own = polar.create_customer()
    polar.put_state({**own, **dict.fromkeys(ARRAYS, hostile)})
    for path, _ in ARRAYS.values():
        items = list_items(polar, path, [own["id"]])
        assert len(items) == (len(hostile) if isinstance(hostile, list) else 0)
        assert [one for one in items if not isinstance(one, dict)] == [
            one for one in (hostile if isinstance(hostile, list) else ()) if not isinstance(one, dict)
        ]


def test_organizations_of_one_server_list_their_own_rows() -> None:
    first = FakePolar.generate(seed=1, customers=20)
    second = first.add_organization(seed=2, customers=20)
    rows = ask(first, "/v1/subscriptions/?limit=100", token=second.access_token).json["items"]
    assert {row["customer"]["organization_id"] for row in rows} == {second.organization_id}
    foreign = f"/v1/subscriptions/?customer_id={first.customers[0]}&customer_id={first.customers[1]}"
    assert ask(first, foreign, token=second.access_token).json["items"] == []
