"""Writing through: on Polar, and in the mirror before the answer returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from polar_sync.models import Customer, Organization
from polar_sync.signals import customer_changed
from polar_sync.testing import FakePolarServer, Fault
from tests.factories import make_id
from tests.rest.conftest import mirror, sign_in

pytestmark = pytest.mark.django_db
URL = "/polar/v1/customers/"
PERSONAL = {"email": "ada@example.com", "name": "Ada Lovelace", "external_id": "usr_1"}


@pytest.fixture
def writable(settings: Settings, polar_server: FakePolarServer) -> FakePolarServer:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}
    Organization.objects.create(name="default", server=polar_server.url)
    return polar_server


@pytest.fixture
def writer(db: None, make_token: Callable[..., str]) -> Client:
    return sign_in(make_token("view_customer", "write_customer_to_polar"))


def send(api: Client, method: str, path: str, body: Any = None) -> Any:
    return getattr(api, method)(path, data=body, content_type="application/json")


def test_created_customer_is_on_polar_and_in_the_mirror(writable: FakePolarServer, writer: Client) -> None:
    answer = send(writer, "post", URL, {**PERSONAL, "metadata": {"a": 1, "b": 1.5, "c": True}})
    assert answer.status_code == 201, answer.content
    assert answer.json() == writable.polar.get_customer(answer.json()["id"])
    assert writer.get(f"{URL}{answer.json()['id']}").json() == answer.json()
    assert writer.get(f"{URL}external/usr_1/state").json()["active_subscriptions"] == []


def test_first_customer_ever_tells_whose_the_token_is(writable: FakePolarServer, writer: Client) -> None:
    send(writer, "post", URL, PERSONAL)
    assert Organization.objects.get().polar_id == UUID(writable.polar.organization_id)


@pytest.mark.parametrize("path", ["{id}", "external/usr_1"])
def test_changed_customer_is_changed_in_both(writable: FakePolarServer, writer: Client, path: str) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()["id"]
    url = f"{URL}{path.format(id=customer)}"
    answer = send(writer, "patch", url, {"name": "Renamed", "metadata": {"self": "x"}})
    assert (answer.status_code, answer.json()["name"]) == (200, "Renamed")
    assert writable.polar.get_customer(customer)["name"] == "Renamed"
    assert writer.get(f"{URL}{customer}").json() == answer.json()
    assert send(writer, "patch", url, {"name": None}).json()["name"] is None


@pytest.mark.parametrize("path", ["{id}", "external/usr_1"])
def test_deleted_customer_is_deleted_in_both_at_once(writable: FakePolarServer, writer: Client, path: str) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()["id"]
    url = f"{URL}{path.format(id=customer)}"
    assert send(writer, "delete", url).status_code == 204
    assert writer.get(f"{URL}{customer}").status_code == 404
    assert writer.get(URL).json()["items"] == []
    row = Customer.all_objects.get()
    assert row.deleted_at is not None
    assert row.name == "Ada Lovelace"
    assert send(writer, "delete", url).status_code == 404


def test_anonymized_customer_is_scrubbed_at_once(writable: FakePolarServer, writer: Client) -> None:
    customer = send(writer, "post", URL, {**PERSONAL, "metadata": {"note": "Ada"}}).json()["id"]
    assert send(writer, "delete", f"{URL}{customer}?anonymize=true").status_code == 204
    row = Customer.all_objects.get()
    assert row.deleted_at is not None
    assert (row.name, row.email, row.external_id, row.metadata) == (None, None, None, None)
    assert not any(word in row.payload + row.extra + row.state_extra for word in ("Ada", "ada", "usr_1"))
    assert row.created_at is not None


def test_polars_refusals_pass_through_unchanged(writable: FakePolarServer, writer: Client) -> None:
    send(writer, "post", URL, PERSONAL)
    duplicate = send(writer, "post", URL, {"email": "ADA@example.com"})
    assert duplicate.status_code == 422
    assert duplicate.json()["error"] == "PolarRequestValidationError"
    assert duplicate.json()["detail"][0]["loc"] == ["body", "email"]
    assert duplicate.json()["detail"][0]["msg"] == "A customer with this email address already exists."
    path = f"{URL}{Customer.objects.get().pk}"
    moved = send(writer, "patch", path, {"external_id": "usr_2"})
    assert moved.json()["detail"][0]["msg"] == "Customer external ID cannot be updated."
    invalid = send(writer, "post", URL, {"email": "no-email", "self": 1, "metadata": {"x": {"nested": 1}}})
    assert (invalid.status_code, invalid.json()["error"]) == (422, "RequestValidationError")
    assert Customer.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{bad json", "json_invalid"),
        (b'{"a": NaN}', "json_invalid"),
        (b"", "missing"),
        (b"null", "missing"),
        (b"[]", "model_attributes_type"),
        (b'"x"', "model_attributes_type"),
    ],
)
@pytest.mark.parametrize("method", ["post", "patch"])
def test_body_that_is_no_object_is_refused(
    writable: FakePolarServer, writer: Client, method: str, body: bytes, kind: str
) -> None:
    # That there is no such customer is not said of a request that nobody understands.
    path = URL if method == "post" else f"{URL}{make_id('nobody')}"
    answer = writer.generic(method, path, data=body, content_type="application/json")
    assert answer.status_code == 422
    assert [detail["type"] for detail in answer.json()["detail"]] == [kind]
    assert not writable.polar.requests


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff", b'{"a": "\xff"}'])
def test_body_that_nobody_can_read_is_refused(writable: FakePolarServer, writer: Client, body: bytes) -> None:
    answer = writer.post(URL, data=body, content_type="application/json")
    assert (answer.status_code, answer.json()) == (400, {"detail": "There was an error parsing the body"})


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_only_json_is_read_as_json(writable: FakePolarServer, writer: Client, kind: str) -> None:
    answer = writer.generic("POST", URL, data=b'{"email": "a@x.test"}', content_type=kind)
    assert answer.status_code == 422
    detail = answer.json()["detail"][0]
    assert (detail["type"], detail["input"]) == ("model_attributes_type", '{"email": "a@x.test"}')
    named = writer.generic("POST", URL, data=b'{"email": "a@x.test"}', content_type="application/merge-patch+json")
    assert named.status_code == 201


def test_body_beyond_what_the_site_takes_is_refused_before_it_is_read(
    writable: FakePolarServer, writer: Client, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    answer = writer.generic("POST", URL, data=b'{"email": "a@x.test"}', content_type="application/json")
    assert (answer.status_code, answer.json()) == (413, {"detail": "The body is larger than this site takes"})


def test_everything_wrong_with_path_query_and_body_is_told_at_once(writable: FakePolarServer, writer: Client) -> None:
    changed = writer.generic("PATCH", f"{URL}x")
    assert [detail["loc"] for detail in changed.json()["detail"]] == [["path", "id"], ["body"]]
    deleted = writer.delete(f"{URL}x?anonymize=perhaps")
    assert [detail["loc"] for detail in deleted.json()["detail"]] == [["path", "id"], ["query", "anonymize"]]


@pytest.mark.parametrize(("body", "status"), [(b"{bad", 422), (b"\xff", 400), (b"[]", 403), (b"", 403)])
def test_broken_json_is_told_of_before_a_missing_permission(
    writable: FakePolarServer, api: Client, body: bytes, status: int
) -> None:
    for method, path in (("POST", URL), ("PATCH", f"{URL}{make_id('a')}"), ("PATCH", f"{URL}external/a")):
        assert api.generic(method, path, data=body, content_type="application/json").status_code == status
        assert Client().generic(method, path, data=body, content_type="application/json").status_code == 401


def test_by_external_id_neither_that_nor_the_type_is_changed(writable: FakePolarServer, writer: Client) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()
    change = {"external_id": "usr_2", "type": "team", "name": "New", "unknown": 1}
    answer = send(writer, "patch", f"{URL}external/usr_1", change)
    assert (answer.status_code, answer.json()["name"]) == (200, "New")
    assert (answer.json()["external_id"], answer.json()["type"]) == ("usr_1", "individual")
    assert send(writer, "patch", f"{URL}{customer['id']}", {"type": "team"}).json()["type"] == "team"


@pytest.mark.parametrize("external_id", ["a/state", "a/state/", "state", "state/state", "a\nb", "\n/state", "a\n/"])
def test_customer_with_an_odd_external_id_is_changed_and_deleted(
    writable: FakePolarServer, writer: Client, external_id: str
) -> None:
    other = send(writer, "post", URL, {"email": "other@example.com", "external_id": "a"}).json()
    customer = send(writer, "post", URL, PERSONAL | {"external_id": external_id}).json()
    path = f"{URL}external/{quote(external_id, safe='')}"
    assert send(writer, "patch", path, {"name": "New"}).json()["id"] == customer["id"]
    assert writer.get(f"{path}/state").json()["name"] == "New"
    assert send(writer, "delete", path).status_code == 204
    assert list(writable.polar.customers) == [other["id"]]


def test_lone_surrogate_in_a_body_does_no_harm(writable: FakePolarServer, writer: Client) -> None:
    answer = writer.post(URL, data=b'{"email": "x@example.com", "name": "\\ud800"}', content_type="application/json")
    assert answer.status_code in {201, 422}


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_writing_is_off_by_default(polar_server: FakePolarServer, writer: Client, method: str) -> None:
    polar_server.polar.generate_customers(1)
    mirror(polar_server.polar)
    path = URL if method == "post" else f"{URL}{next(iter(polar_server.polar.customers))}"
    polar_server.polar.reset_counts()
    answer = send(writer, method, path, {})
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer["Allow"] == "GET, HEAD, OPTIONS"
    assert not polar_server.polar.counts


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_writing_needs_a_permission_of_its_own(
    writable: FakePolarServer, make_token: Callable[..., str], method: str
) -> None:
    reader = sign_in(make_token("view_customer", "add_customer", "change_customer", "delete_customer"))
    answer = send(reader, method, URL if method == "post" else f"{URL}{make_id('a')}", {})
    assert answer.status_code == 403
    assert 'scope="customers:write"' in answer["WWW-Authenticate"]
    assert not writable.polar.requests


def test_customer_that_polar_has_deleted_is_found_out(writable: FakePolarServer, writer: Client) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()["id"]
    writable.polar.delete_customer(customer)
    answer = send(writer, "patch", f"{URL}{customer}", {"name": "Late"})
    assert (answer.status_code, answer.json()["error"]) == (404, "ResourceNotFound")
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    ("kind", "status"), [("unauthorized", 502), ("cut", 503), ("truncate", 502), ("rate_limit", 429)]
)
def test_polars_trouble_changes_nothing_here(writable: FakePolarServer, writer: Client, kind: str, status: int) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()["id"]
    writable.polar.faults.add(Fault(kind=kind, times=None, retry_after=60))  # type: ignore[arg-type] # one of its words
    answer = send(writer, "delete", f"{URL}{customer}")
    assert answer.status_code == status or (kind == "truncate" and answer.status_code == 204)
    assert writable.polar.access_token not in answer.content.decode()
    assert Customer.objects.exists() is (answer.status_code != 204)


def test_second_organization_is_chosen_by_its_id(writable: FakePolarServer, writer: Client, settings: Settings) -> None:
    with FakePolarServer() as second:
        organizations = settings.POLAR_SYNC["ORGANIZATIONS"]
        other = {"ACCESS_TOKEN": second.polar.access_token, "SERVER": second.url}
        settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {**organizations, "second": other}}
        Organization.objects.create(name="second", server=second.url, polar_id=second.polar.organization_id)
        assert send(writer, "post", URL, PERSONAL).json()["detail"][0]["loc"] == ["body", "organization_id"]
        created = send(writer, "post", URL, {**PERSONAL, "organization_id": second.polar.organization_id})
        assert created.status_code == 201
        assert second.polar.get_customer(created.json()["id"])["name"] == "Ada Lovelace"
        assert not writable.polar.requests
        refused = send(writer, "post", URL, {**PERSONAL, "organization_id": make_id("nobody")})
        assert refused.status_code == 422


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_polar_is_asked(
    writable: FakePolarServer, writer: Client, settings: Settings
) -> None:
    customer = send(writer, "post", URL, PERSONAL).json()["id"]
    seen: list[bool] = []
    # The connection of this thread; the fake server looks at it from one of its own.
    asking = connections["default"]

    def look() -> None:
        seen.append(asking.in_atomic_block)

    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        for operation in ("customers:update", "customers:delete", "customers:get", "customers:get_state"):
            writable.polar.before(operation, look)
        assert writer.post(f"{URL}{customer}/refresh").status_code == 403
        assert send(writer, "patch", f"{URL}{customer}", {"name": "New"}).status_code == 200
        assert send(writer, "delete", f"{URL}{customer}").status_code == 204
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
    assert seen == [False] * 2


def test_change_is_announced(
    writable: FakePolarServer, writer: Client, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []

    def listen(sender: Any, **signal: Any) -> None:
        heard.append(str(signal["customer_id"]))

    customer_changed.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            customer = send(writer, "post", URL, PERSONAL).json()["id"]
    finally:
        customer_changed.disconnect(listen)
    assert heard == [customer]
