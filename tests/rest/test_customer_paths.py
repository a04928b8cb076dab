"""How one customer is addressed: by id or external id, with or without a slash at the end, in any version but ours."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from pytest_django import Settings

from polar_sync.models import Customer, Organization
from tests.factories import (
    apply_customers,
    apply_states,
    at,
    build_customer,
    build_full_state,
    build_state,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "external_id",
    ["a", "org/team/9", "/", "a/", "a//b", "é ?#&%25", "state", "Ü" * 600, "a/state", "a\nb", "\n", "a\n/\n"],
)
def test_external_ids_of_any_kind_are_found(organization: Organization, api: Client, external_id: str) -> None:
    apply_states(organization, build_full_state("x") | {"external_id": external_id}, interval=read_at(0))
    path = f"/polar/v1/customers/external/{quote(external_id, safe='')}"
    assert api.get(path).json()["id"] == make_id("x")
    assert len(api.get(f"{path}/state").json()["active_subscriptions"]) == 2
    assert api.get(f"{path}x").status_code == 404


def test_external_id_is_case_sensitive(organization: Organization, api: Client) -> None:
    apply_states(organization, build_state("x", external_id="Ada"), interval=read_at(0))
    assert api.get("/polar/v1/customers/external/ada").status_code == 404


def test_state_of_one_goes_before_an_id_that_ends_like_it(organization: Organization, api: Client) -> None:
    apply_states(
        organization, build_state("x", external_id="a"), build_state("y", external_id="a/state"), interval=read_at(0)
    )
    assert api.get("/polar/v1/customers/external/a/state").json()["id"] == make_id("x")
    assert api.get("/polar/v1/customers/external/a/state/state").json()["id"] == make_id("y")


def test_path_with_a_line_break_that_leads_nowhere_is_answered_as_any_other(
    organization: Organization, api: Client
) -> None:
    for path in ("nothing%0A", "customers/external/x%0Ay", "customers/a/b%0A/c"):
        answer = api.get(f"/polar/v1/{path}")
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")


def test_same_external_id_in_two_organizations_needs_the_organization(organization: Organization, api: Client) -> None:
    other = create_organization("other", polar_id=make_uuid("other"))
    apply_states(organization, build_state("a", external_id="x"), interval=read_at(0))
    apply_states(other, build_state("b", external_id="x", organization_id=str(other.polar_id)), interval=read_at(0))
    refused = api.get("/polar/v1/customers/external/x/state")
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["query", "organization_id"]
    for row, name in ((organization, "a"), (other, "b")):
        for suffix in ("", "/state"):
            answer = api.get(f"/polar/v1/customers/external/x{suffix}?organization_id={row.polar_id}")
            assert answer.json()["id"] == make_id(name)


def test_of_two_with_one_external_id_the_younger_is_meant(organization: Organization, api: Client) -> None:
    older = build_customer("a", external_id="x", created_at="2025-01-01T00:00:00Z")
    apply_customers(organization, older, build_customer("b", external_id="x"), interval=read_at(0))
    Customer.objects.filter(pk=make_uuid("a")).update(created_at=at(-9e4))
    assert api.get("/polar/v1/customers/external/x").json()["id"] == make_id("b")


@pytest.mark.parametrize("path", ["", "/state"])
def test_both_spellings_work(organization: Organization, api: Client, path: str) -> None:
    apply_states(organization, build_state("x"), interval=read_at(0))
    for url in (f"/polar/v1/customers/{make_id('x')}{path}", f"/polar/v1/customers/external/usr_x{path}"):
        assert api.get(url).json() == api.get(f"{url}/").json()
    assert api.get("/polar/v1/customers").json() == api.get("/polar/v1/customers/").json()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not-a-uuid", "invalid character: found `n` at 1"),
        ("123", "invalid length: expected length 32 for simple format, found 3"),
        ("1-2-3", "invalid group count: expected 5, found 3"),
        ("1-2-3-4-5", "invalid group length in group 0: expected 8, found 1"),
        ("7d44-48409dc041118111000000000000", "invalid group count: expected 5, found 2"),
    ],
)
def test_what_is_no_uuid_is_told_so(organization: Organization, api: Client, text: str, reason: str) -> None:
    for url in (f"/polar/v1/customers/{text}", f"/polar/v1/customers/{text}/state"):
        answer = api.get(url)
        assert answer.status_code == 422
        detail: dict[str, Any] = answer.json()["detail"][0]
        assert detail["loc"] == ["path", "id"]
        assert detail["ctx"] == {"error": reason}


def test_uuid_of_another_version_is_refused_as_on_polar(organization: Organization, api: Client) -> None:
    answer = api.get(f"/polar/v1/customers/{uuid.UUID(int=1)}")
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        [
            {
                "type": "uuid_version",
                "loc": ["path", "id"],
                "msg": "UUID version 4 expected",
                "input": str(uuid.UUID(int=1)),
                "ctx": {"expected_version": 4},
            }
        ],
    )


def test_unknown_customer_and_unknown_path_are_told_apart(organization: Organization, api: Client) -> None:
    missing = api.get(f"/polar/v1/customers/{uuid.uuid4()}")
    assert missing.json() == {"error": "ResourceNotFound", "detail": "Not found"}
    for path in ("/polar/v1/nothing", "/polar/v1/customers/a/b/c", "/polar/v1/"):
        answer = Client().get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json; indent=4",
        "application/xml",
        "text/csv",
        "text/html",
        "text/html;q=0.1, application/json",
    ],
)
def test_program_gets_json_whatever_it_accepts(organization: Organization, api: Client, accept: str) -> None:
    answer = api.get("/polar/v1/customers/", headers={"Accept": accept})
    assert answer["Content-Type"] == "application/json"
    assert answer.content == b'{"items":[],"pagination":{"max_page":0,"total_count":0}}'


@pytest.mark.parametrize("query", ["format=json", "format=api", "format=xml"])
def test_format_is_no_parameter_to_a_program(organization: Organization, api: Client, query: str) -> None:
    for path in ("/polar/v1/customers/", f"/polar/v1/customers/{make_id(1)}", "/polar/v1/meters/"):
        answer = api.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "format"])


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", "text/html; charset=utf-8"),
        ("*/*", "", "application/json"),
        ("application/json, text/html;q=0.9", "", "application/json"),
        ("text/html", "?format=json", "application/json"),
        ("*/*", "?format=api", "text/html; charset=utf-8"),
    ],
)
def test_page_comes_to_a_browser_that_asks_for_one(
    organization: Organization, admin_client: Client, accept: str, query: str, kind: str
) -> None:
    answer = admin_client.get(f"/polar/v1/customers/{query}", headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, kind)


PATHS = {
    "": {"GET", "POST"},
    "export": {"GET"},
    make_id("x"): {"GET", "PATCH", "DELETE"},
    f"{make_id('x')}/state": {"GET"},
    f"{make_id('x')}/balance": {"GET"},
    f"{make_id('x')}/refresh": {"POST"},
    "external/usr_x": {"GET", "PATCH", "DELETE"},
    "external/usr_x/state": {"GET", "PATCH", "DELETE"},
}


@pytest.mark.parametrize("is_writing", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_allow_names_the_methods_that_are_there(
    organization: Organization, admin_client: Client, settings: Settings, path: str, is_writing: bool
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": is_writing}
    expected = PATHS[path] if is_writing or "refresh" in path else PATHS[path] & {"GET"}
    expected = expected | ({"HEAD", "OPTIONS"} if "GET" in expected else {"OPTIONS"})
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        # Where nobody is found, nothing is asked of Polar.
        answer = admin_client.generic(method, f"/polar/v1/customers/{path}")
        assert (answer.status_code == 405) is (method not in expected), (method, answer.content)
        if answer.status_code == 405:
            assert answer.json() == {"detail": "Method Not Allowed"}
            assert set(answer["Allow"].split(", ")) == expected
