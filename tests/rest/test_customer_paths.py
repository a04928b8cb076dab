"""How one customer is addressed: by id or external id, with or without a slash at the end, in any version but ours."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

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
    "external_id", ["a", "org/team/9", "/", "a/", "a//b", "é ?#&%25", "state", "Ü" * 600, "a/state"]
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
    ],
)
def test_what_is_no_uuid_is_told_so(organization: Organization, api: Client, text: str, reason: str) -> None:
    for url in (f"/polar/v1/customers/{text}", f"/polar/v1/customers/{text}/state"):
        answer = api.get(url)
        assert answer.status_code == 422
        detail: dict[str, Any] = answer.json()["detail"][0]
        assert detail["loc"] == ["path", "id"]
        assert detail["ctx"] == {"error": reason}


def test_unknown_customer_and_unknown_path_are_told_apart(organization: Organization, api: Client) -> None:
    missing = api.get(f"/polar/v1/customers/{uuid.uuid4()}")
    assert missing.json() == {"error": "ResourceNotFound", "detail": "Not found"}
    for path in ("/polar/v1/nothing", "/polar/v1/customers/a/b/c", "/polar/v1/"):
        answer = Client().get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("version", ["2026-04", None])
def test_answers_name_the_version(organization: Organization, api: Client, version: str | None) -> None:
    answer = api.get("/polar/v1/customers/", headers={"Polar-Version": version} if version else {})
    assert answer["Polar-Version"] == "2026-04"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json; indent=4", "application/xml", "text/csv"]
)
def test_json_comes_whatever_is_accepted(organization: Organization, api: Client, accept: str) -> None:
    answer = api.get("/polar/v1/customers/", headers={"Accept": accept})
    assert answer["Content-Type"] == "application/json"
    assert answer.content == b'{"items":[],"pagination":{"max_page":0,"total_count":0}}'


def test_method_that_there_is_not(organization: Organization, api: Client) -> None:
    for method in ("put", "post", "patch", "delete"):
        answer = getattr(api, method)(
            "/polar/v1/customers/" if method == "post" else f"/polar/v1/customers/{make_id(1)}"
        )
        assert answer.status_code in {403, 405}
    answer = api.put(f"/polar/v1/customers/{make_id(1)}")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer["Allow"] == "GET, HEAD, OPTIONS"
