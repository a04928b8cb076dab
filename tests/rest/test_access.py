"""Who may: staff with Django's permissions, of the organizations that the project says; nobody else sees anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings

from polar_sync.models import Organization, SyncRun
from tests.factories import (
    apply_states,
    build_full_state,
    create_organization,
    make_id,
    make_uuid,
    read_at,
)
from tests.rest.conftest import sign_in

pytestmark = pytest.mark.django_db
ONE = f"/polar/v1/customers/{make_id('a')}"
READS = [
    "/polar/v1/customers/",
    "/polar/v1/customers/export",
    *(ONE, f"{ONE}/state", f"{ONE}/balance"),
    *("/polar/v1/customers/external/usr_a", "/polar/v1/customers/external/usr_a/state"),
    *("/polar/v1/subscriptions/", "/polar/v1/benefit-grants/", "/polar/v1/meters/"),
    f"/polar/v1/subscriptions/{make_id('subscription a.0')}",
    *("/polar/v1/sync/runs/", "/polar/v1/sync/runs/1", "/polar/v1/sync/status"),
]
WRITES = [f"{ONE}/refresh", "/polar/v1/sync/runs/", "/polar/v1/sync/runs/1/cancel"]


@pytest.fixture
def full(organization: Organization) -> Organization:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    SyncRun.objects.create(pk=1, organization=organization, detail="secret detail")
    return organization


def says_nothing(answer: Any) -> bool:
    text = b"".join(answer) if answer.streaming else answer.content
    # Nothing that a random token on a page could hold.
    return not any(word in text for word in (b"a@example.com", b"Ada a", b"secret detail"))


@pytest.mark.parametrize("path", [*READS, *WRITES])
@pytest.mark.parametrize("method", ["get", "head", "options", "post", "patch", "put", "delete"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_strangers_see_nothing(full: Organization, path: str, method: str, accept: str) -> None:
    answer = getattr(Client(), method)(path, headers={"Accept": accept})
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="polar"'
    assert says_nothing(answer)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("method", ["get", "options"])
@pytest.mark.parametrize(
    ("permissions", "is_staff"), [(["view_customer", "view_syncrun"], False), ([], True), (["change_customer"], True)]
)
def test_permission_and_staff_are_both_needed(
    full: Organization,
    make_token: Callable[..., str],
    path: str,
    method: str,
    permissions: list[str],
    is_staff: bool,
) -> None:
    for accept in ("application/json", "text/html"):
        token = make_token(*permissions, is_staff=is_staff)
        answer = getattr(sign_in(token), method)(path, headers={"Accept": accept})
        assert answer.status_code == 403
        assert says_nothing(answer)
        assert answer["WWW-Authenticate"].startswith('Bearer realm="polar", scope="')


@pytest.mark.parametrize("path", WRITES)
def test_reading_does_not_allow_actions(full: Organization, make_token: Callable[..., str], path: str) -> None:
    api = sign_in(make_token("view_customer", "view_syncrun"))
    assert api.post(path).status_code == 403
    assert SyncRun.objects.filter(status="running").count() == 1


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer x", "Bearer a b", "Bearer " + "x" * 5000, "Bearer \xff", "bearer polar_cst_x", "Bearer \x00"],
)
def test_wrong_tokens_are_refused_as_on_polar(full: Organization, header: str) -> None:
    answer = Client().get("/polar/v1/customers/", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_token"
    assert 'error="invalid_token"' in answer["WWW-Authenticate"]


def test_token_is_kept_hashed_and_can_be_taken_away(full: Organization, make_token: Callable[..., str]) -> None:
    token = make_token("view_customer")
    api = sign_in(token)
    assert api.get(ONE).status_code == 200
    row = AuthToken.objects.get()
    assert token not in {row.digest, row.token_key}
    row.delete()
    assert api.get(ONE).status_code == 401


def test_token_of_somebody_inactive_is_refused(
    full: Organization, make_token: Callable[..., str], django_user_model: Any
) -> None:
    api = sign_in(make_token("view_customer"))
    django_user_model.objects.update(is_active=False)
    assert api.get(ONE).status_code == 401


def test_signed_in_staff_may_read_and_browse(full: Organization, admin_client: Client) -> None:
    assert admin_client.get(ONE).json()["id"] == make_id("a")
    page = admin_client.get(ONE, headers={"Accept": "text/html"})
    assert page["Content-Type"].startswith("text/html")
    assert b"Ada a" in page.content
    assert admin_client.options(ONE).status_code == 200


def test_session_without_csrf_token_changes_nothing(full: Organization, admin_user: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    answer = client.post("/polar/v1/sync/runs/1/cancel")
    assert answer.status_code == 403
    assert SyncRun.objects.get().is_running


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_form_of_a_session_without_csrf_token_is_refused(full: Organization, admin_user: Any, kind: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    client.cookies["csrftoken"] = "a" * 32
    answer = client.generic("POST", "/polar/v1/sync/runs/1/cancel", b"x=1", content_type=kind)
    assert answer.status_code == 403
    assert SyncRun.objects.get().is_running


@pytest.fixture
def two_organizations(full: Organization, settings: Settings) -> Organization:
    other = create_organization("shop", polar_id=make_uuid("shop"))
    apply_states(other, build_full_state("b") | {"organization_id": str(other.polar_id)}, interval=read_at(0))
    SyncRun.objects.create(pk=2, organization=other)
    settings.POLAR_SYNC = {
        **settings.POLAR_SYNC,
        "REST_ORGANIZATION_RESOLVER": "tests.rest.resolvers.see_shop",
    }
    return other


def test_reader_of_one_organization_never_sees_another(two_organizations: Organization, steering_api: Client) -> None:
    for path in ("customers", "subscriptions", "benefit-grants", "meters"):
        items = steering_api.get(f"/polar/v1/{path}/?limit=100").json()["items"]
        assert {item["organization_id"] for item in items} == {str(two_organizations.polar_id)}
        hidden = steering_api.get(f"/polar/v1/{path}/?organization_id={make_uuid('organization')}")
        assert hidden.json()["items"] == []
    assert [run["id"] for run in steering_api.get("/polar/v1/sync/runs/").json()["items"]] == [2]
    assert [one["organization"] for one in steering_api.get("/polar/v1/sync/status").json()["items"]] == ["shop"]
    export = b"".join(steering_api.get("/polar/v1/customers/export"))
    assert make_id("b").encode() in export
    assert make_id("a").encode() not in export
    for path in READS[2:]:
        if "status" not in path and path.count("/") > 3 and not path.endswith("/"):
            assert steering_api.get(path).status_code == 404, path
    for path in (f"{ONE}/refresh", "/polar/v1/sync/runs/1/cancel"):
        assert steering_api.post(path).status_code == 404
    started = steering_api.post("/polar/v1/sync/runs/", {"organization": "default"}, content_type="application/json")
    assert started.status_code == 422


def test_settings_choose_who_may_come_but_never_drop_the_permission(
    full: Organization, settings: Settings, make_token: Callable[..., str]
) -> None:
    settings.POLAR_SYNC = {
        **settings.POLAR_SYNC,
        "REST_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    }
    assert Client().get(ONE).status_code == 401
    assert sign_in(make_token(is_staff=False)).get(ONE).status_code == 403
    assert sign_in(make_token("view_customer", is_staff=False)).get(ONE).status_code == 200


def test_settings_choose_how_to_sign_in(full: Organization, settings: Settings, api: Client) -> None:
    settings.POLAR_SYNC = {
        **settings.POLAR_SYNC,
        "REST_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    }
    assert api.get(ONE).status_code == 401


def test_throttles_are_ready(full: Organization, settings: Settings, make_token: Callable[..., str]) -> None:
    settings.POLAR_SYNC = {
        **settings.POLAR_SYNC,
        "REST_THROTTLE_CLASSES": [f"polar_sync.rest.throttles.{name}Throttle" for name in ("Read", "Write")],
        "REST_THROTTLE_RATES": {"read": "2/day", "write": "1/day"},
    }
    api, other = sign_in(make_token(is_superuser=True)), sign_in(make_token(is_superuser=True))
    assert [api.get(ONE).status_code for _ in range(3)] == [200, 200, 429]
    assert other.get(ONE).status_code == 200
    statuses = [other.post("/polar/v1/sync/runs/1/cancel").status_code for _ in range(2)]
    assert statuses == [200, 429]
    limited = api.get(ONE)
    assert limited.content == b""
    assert int(limited["Retry-After"]) > 0


def test_an_unexpected_error_leaks_nothing(
    full: Organization, settings: Settings, make_token: Callable[..., str]
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_ORGANIZATION_RESOLVER": "tests.rest.resolvers.fail"}
    client = sign_in(make_token("view_customer"))
    client.raise_request_exception = False
    answer = client.get(ONE)
    assert answer.status_code == 500
    assert b"a secret of the project" not in answer.content


def test_state_of_a_stranger_cannot_be_told_by_etag(full: Organization, api: Client) -> None:
    etag = api.get(ONE)["ETag"]
    assert Client().get(ONE, headers={"If-None-Match": etag}).status_code == 401
