"""The list's parameters mean what they mean on Polar; what cannot be read is a 422 in Polar's words."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.test import Client

from polar_sync.models import Customer, Organization, Subscription
from polar_sync.payloads.texts import ONE_ID, SEVERAL_IDS
from tests.factories import (
    ORGANIZATION_ID,
    apply_absences,
    apply_states,
    build_state,
    build_subscription,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)

pytestmark = pytest.mark.django_db
URL = "/polar/v1/customers/"


def names(api: Client, query: str) -> list[str]:
    answer = api.get(f"{URL}?{query}")
    assert answer.status_code == 200, answer.content
    items = answer.json()["items"]
    assert answer.json()["pagination"]["total_count"] >= len(items)
    return sorted(item["id"] for item in items)


def ids(*given: str) -> list[str]:
    return sorted(make_id(name) for name in given)


def refusal(api: Client, query: str) -> list[dict[str, Any]]:
    answer = api.get(f"{URL}?{query}")
    assert answer.status_code == 422, answer.content
    assert answer.json()["error"] == "RequestValidationError"
    details: list[dict[str, Any]] = answer.json()["detail"]
    return details


def test_email_is_exact_but_for_case(organization: Organization, api: Client) -> None:
    apply_states(organization, build_state("a", email="Ada%_@Example.com"), build_state("b"), interval=read_at(0))
    assert names(api, "email=ada%25_%40EXAMPLE.com") == ids("a")
    assert names(api, "email=ada") == names(api, "email=") == names(api, "email=%00") == []


def test_query_is_a_part_of_texts_or_the_beginning_of_the_external_id(organization: Organization, api: Client) -> None:
    apply_states(
        organization,
        build_state("a", email="one@x.test", name="Grace Hopper", billing_name=None, external_id="usr_9"),
        build_state("b", email="two@x.test", name=None, billing_name="Hopper & Söhne", external_id="9_usr"),
        build_state("c", email="hopper@x.test", name="100%", external_id=None),
        interval=read_at(0),
    )
    assert names(api, "query=HOPPER") == ids("a", "b", "c")
    assert names(api, "query=usr") == ids("a")
    assert names(api, "query=%25") == ids("c")
    assert names(api, "query=") == ids("a", "b", "c")
    assert names(api, f"query={quote('öhn')}") == ids("b")


def test_metadata_is_or_within_a_key_and_and_across_keys(organization: Organization, api: Client) -> None:
    states = {
        "a": {"plan": "pro", "n": 5, "vip": True, "0": "zero"},
        "b": {"plan": "max", "n": 5.5, "vip": False, 'it\'s "odd"': "x"},
        "c": {"plan": "pro", "n": "5", "vip": "true"},
        "d": {"plan": 1e22, "n": 50},
    }
    apply_states(organization, *(build_state(name, metadata=one) for name, one in states.items()), interval=read_at(0))
    assert names(api, "metadata[plan]=pro") == ids("a", "c")
    assert names(api, "metadata[plan]=pro&metadata[plan]=max") == ids("a", "b", "c")
    assert names(api, "metadata[plan]=pro&metadata[n]=5") == ids("a", "c")
    assert names(api, "metadata[n]=5.5") == ids("b")
    assert names(api, "metadata[vip]=true") == ids("a", "c")
    assert names(api, "metadata[vip]=false&metadata[plan]=pro") == []
    assert names(api, "metadata[0]=zero") == ids("a")
    assert names(api, f"metadata[{quote(chr(39))}]=x") == []
    key = quote('it\'s "odd"')
    assert names(api, f"metadata[{key}]=x") == ids("b")
    assert names(api, "metadata[n]=5.0") == names(api, "metadata[n]=") == names(api, "metadata[x]=null") == []
    assert names(api, f"metadata[n]={'9' * 5000}") == names(api, "metadata[%00]=%00") == []


def test_active_counts_past_due_where_it_is_known(organization: Organization, api: Client) -> None:
    apply_states(
        organization,
        build_state("a", subscriptions=[build_subscription("a"), build_subscription("a2")]),
        build_state("b", subscriptions=[build_subscription("b", status="trialing")]),
        build_state("c", subscriptions=[build_subscription("c")]),
        build_state("d"),
        interval=read_at(0),
    )
    Subscription.objects.filter(customer=make_uuid("c")).update(status="past_due", is_in_state=False)
    assert names(api, "active=true") == ids("a", "b", "c")
    assert names(api, "active=OFF") == ids("d")
    assert api.get(f"{URL}{make_id('c')}/state").json()["active_subscriptions"] == []
    listed = api.get(f"/polar/v1/subscriptions/?status=past_due&customer_id={make_id('c')}").json()["items"]
    assert [item["id"] for item in listed] == [make_id("subscription c")]


def test_organizations_are_told_apart(organization: Organization, api: Client) -> None:
    other = create_organization("other", polar_id=make_uuid("other"))
    apply_states(organization, build_state("a"), interval=read_at(0))
    apply_states(other, build_state("b", organization_id=str(other.polar_id)), interval=read_at(0))
    assert names(api, "") == ids("a", "b")
    assert names(api, f"organization_id={ORGANIZATION_ID}") == ids("a")
    assert names(api, f"organization_id={ORGANIZATION_ID}&organization_id={other.polar_id}") == ids("a", "b")
    assert names(api, f"organization_id={make_id('none')}") == []


def test_deleted_customers_are_never_listed(organization: Organization, api: Client) -> None:
    apply_states(organization, build_state("a"), build_state("b"), interval=read_at(0))
    apply_absences(organization, "a", interval=read_at(1))
    assert names(api, "") == ids("b")
    for suffix in ("", "/state"):
        answer = api.get(f"/polar/v1/customers/{make_id('a')}{suffix}")
        assert answer.status_code == 404
        assert answer.json() == {"error": "ResourceNotFound", "detail": "Not found"}


@pytest.mark.parametrize(
    ("sorting", "key"),
    [
        (["name"], lambda one: (one["name"] is None, one["name"] or "", one["id"])),
        (["email"], lambda one: (one["email"] is None, one["email"] or "", one["id"])),
        (["created_at"], lambda one: (one["created_at"], one["id"])),
    ],
)
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("way", ["page", "cursor"])
def test_walk_over_all_pages_meets_everybody_once_in_order(
    organization: Organization, api: Client, sorting: list[str], key: Any, is_descending: bool, way: str
) -> None:
    states = [
        build_state(
            number,
            name=None if number % 5 == 0 else f"Name {number % 3}",
            email=None if number % 7 == 0 else f"{number % 4}@x.test",
            created_at=f"2025-01-01T00:00:0{number % 4}Z",
        )
        for number in range(30)
    ]
    apply_states(organization, *states, interval=read_at(0))
    sign = "-" if is_descending else ""
    query = "&".join(f"sorting={sign}{one}" for one in sorting)
    walked: list[Any] = []
    place: Any = 1 if way == "page" else ""
    while place is not None:
        body = api.get(f"{URL}?{query}&limit=4&{way}={place}").json()
        walked += body["items"]
        if way == "page":
            assert body["pagination"] == {"total_count": 30, "max_page": 8}
            place = place + 1 if body["items"] else None
        else:
            place = body["pagination"]["next_cursor"]
            assert body["pagination"]["has_next_page"] is (place is not None)
    assert [one["id"] for one in walked] == [one["id"] for one in sorted(walked, key=key, reverse=is_descending)]
    assert len({one["id"] for one in walked}) == len(walked) == 30


def test_several_sortings_apply_in_order(organization: Organization, api: Client) -> None:
    rows = [("a", "B", "1@x"), ("b", "B", "0@x"), ("c", "A", "2@x")]
    apply_states(
        organization, *(build_state(key, name=name, email=email) for key, name, email in rows), interval=read_at(0)
    )
    items = api.get(f"{URL}?sorting=-name&sorting=email").json()["items"]
    assert [item["id"] for item in items] == [make_id(name) for name in ("b", "a", "c")]


@pytest.mark.parametrize("last", ["created_at", "-created_at"])
def test_ties_go_by_id_in_the_direction_of_the_last_criterion(
    organization: Organization, api: Client, last: str
) -> None:
    apply_states(organization, *(build_state(number, name="Same") for number in range(9)), interval=read_at(0))
    items = api.get(f"{URL}?sorting=name&sorting={last}").json()["items"]
    assert [item["id"] for item in items] == sorted((item["id"] for item in items), reverse=last.startswith("-"))


def test_limit_over_100_is_100_and_a_page_beyond_is_empty(organization: Organization, api: Client) -> None:
    apply_states(organization, *(build_state(number) for number in range(120)), interval=read_at(0))
    assert len(api.get(f"{URL}?limit=1000").json()["items"]) == 100
    assert len(api.get(URL).json()["items"]) == 10
    beyond = api.get(f"{URL}?limit=100&page=3").json()
    assert beyond == {"items": [], "pagination": {"total_count": 120, "max_page": 2}}
    # On Polar such a page is a 500.
    assert api.get(f"{URL}?page={'9' * 20}").json()["items"] == []


def test_every_wrong_value_is_told_of(organization: Organization, api: Client) -> None:
    details = refusal(api, "page=0&limit=x&sorting=name&sorting=age")
    assert [(one["type"], one["loc"]) for one in details] == [
        ("greater_than", ["query", "page"]),
        ("int_parsing", ["query", "limit"]),
        ("enum", ["query", "sorting", 1]),
    ]
    details = refusal(api, f"active=maybe&organization_id=x&organization_id={UUID(int=1)}&page=0")
    assert [(one["type"], one["loc"]) for one in details] == [
        ("greater_than", ["query", "page"]),
        ("uuid_type", ["query", "organization_id", ONE_ID]),
        ("uuid_parsing", ["query", "organization_id", SEVERAL_IDS, 0]),
        ("uuid_version", ["query", "organization_id", SEVERAL_IDS, 1]),
        ("bool_parsing", ["query", "active"]),
    ]
    assert details[1]["input"] == ["x", str(UUID(int=1))]
    assert details[3]["ctx"] == {"expected_version": 4}


@pytest.mark.parametrize("page", ["1.0", "+1", "%201%20", "01", "1_0.00"])
def test_whole_number_may_be_written_in_other_ways(organization: Organization, api: Client, page: str) -> None:
    assert api.get(f"{URL}?page={page}").json() == {"items": [], "pagination": {"total_count": 0, "max_page": 0}}


def test_query_compares_lower_case_as_polar_does(organization: Organization, api: Client) -> None:
    """In upper case the dotless ı is I, and the long ſ is S."""
    apply_states(
        organization,
        build_state("a", name="KIRMIZI", billing_name=None, email="a@x.test", external_id="ISI"),
        build_state("b", name="100%_\\", billing_name=None, email="b@x.test", external_id="b"),
        interval=read_at(0),
    )
    assert names(api, "query=kirmizi") == names(api, "query=isi") == ids("a")
    assert names(api, "query=%C4%B1") == names(api, "query=%C5%BF") == []
    assert names(api, "query=100%25_%5C") == ids("b")
    assert names(api, "query=100__") == []


@pytest.mark.parametrize("name", ["emial", "metadata", "metadata[]", "customer_id", "Page"])
def test_unknown_parameter_is_named(organization: Organization, api: Client, name: str) -> None:
    assert refusal(api, f"{quote(name)}=x") == [
        {"type": "extra_forbidden", "loc": ["query", name], "msg": "Extra inputs are not permitted", "input": "x"}
    ]
    assert api.get(f"/polar/v1/customers/{make_id('a')}?x=1").status_code == 422


@pytest.mark.parametrize(
    "cursor", ["x", "W10=", "bnVsbA==", "WyJuYW1lIiwgMSwgMl0=", "IiI=", "%00", "WyItY3JlYXRlZF9hdCIsImEiLCJiIl0="]
)
def test_made_up_cursor_is_refused(organization: Organization, api: Client, cursor: str) -> None:
    assert refusal(api, f"cursor={cursor}")[0]["loc"] == ["query", "cursor"]


def test_cursor_goes_with_one_sorting_and_no_page(organization: Organization, api: Client) -> None:
    apply_states(organization, *(build_state(number) for number in range(3)), interval=read_at(0))
    cursor = api.get(f"{URL}?limit=1&cursor=&sorting=name").json()["pagination"]["next_cursor"]
    assert refusal(api, f"cursor={cursor}&sorting=email")
    assert refusal(api, f"cursor={cursor}&sorting=name&page=2")
    assert refusal(api, f"cursor={cursor}&sorting=name&sorting=email")


def test_what_no_url_and_no_database_can_hold_comes_back_whole(organization: Organization, api: Client) -> None:
    hostile = build_state("a", name="a\x00b\ud800", metadata={"\x00": 1e308, "big": 2**80}, unknown={"deep": [None]})
    apply_states(organization, hostile, interval=read_at(0))
    assert Customer.objects.count() == 1
    answer = api.get(f"/polar/v1/customers/{make_id('a')}/state").json()
    assert answer["name"] == "a\x00b\ud800"
    assert answer["metadata"] == {"\x00": 1e308, "big": 2**80}
    assert answer["unknown"] == {"deep": [None]}
    assert api.get("/polar/v1/customers/export").status_code == 200
