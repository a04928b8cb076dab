from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from polar_sync.testing import FakePolar
from polar_sync.testing.http import ROUTES
from polar_sync.testing.webhook_rows import EVENT_TYPES, FORMATS
from tests.testing.asking import ask
from tests.testing.receiver import Receiver

NOBODY = "7d444840-9dc0-4111-8111-000000000000"
URL = "http://127.0.0.1:9/hook"
PATH = "/v1/webhooks/endpoints"
BODY = {"url": URL, "format": "raw", "events": ["customer.created", "customer.state_changed"]}
WEBHOOK_ROUTES = [route for route in ROUTES if route.operation.startswith("webhooks:")]


def create(polar: FakePolar, **fields: Any) -> Any:
    reply = ask(polar, PATH, method="POST", body={**BODY, **fields})
    assert reply.status == 201, reply.body
    return reply.json


def validate(contract: dict[str, Any], name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": contract["components"]}
    Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("route", WEBHOOK_ROUTES, ids=lambda route: route.operation)
def test_operation_is_that_of_the_contract(route: Any, contract: dict[str, Any]) -> None:
    path = route.pattern.pattern.replace("(?P<id>[^/]+)", "{id}")
    operation = contract["paths"][path][route.method.lower()]
    assert operation["operationId"] == route.operation
    assert [one["oat"] for one in operation["security"] if "oat" in one] == [list(route.scopes)]


def test_every_webhook_operation_of_the_contract_is_served(contract: dict[str, Any]) -> None:
    paths = {path: methods for path, methods in contract["paths"].items() if path.startswith("/v1/webhooks/")}
    described = {one["operationId"] for methods in paths.values() for one in methods.values()}
    assert {route.operation for route in WEBHOOK_ROUTES} == described


def test_event_types_and_formats_are_those_of_the_contract(contract: dict[str, Any]) -> None:
    schemas = contract["components"]["schemas"]
    assert list(EVENT_TYPES) == schemas["WebhookEventType"]["enum"]
    assert list(FORMATS) == schemas["WebhookFormat"]["enum"]


@pytest.mark.parametrize("route", WEBHOOK_ROUTES, ids=lambda route: route.operation)
def test_operation_needs_its_scope_and_says_which(polar: FakePolar, route: Any) -> None:
    path = route.pattern.pattern.replace("(?P<id>[^/]+)", NOBODY)
    denied = polar.create_token(["customers:write"])
    reply = ask(polar, path, method=route.method, token=denied, body=BODY)
    assert (reply.status, reply.json["error"]) == (403, "insufficient_scope")
    assert f'scope="{" ".join(route.scopes)}"' in reply.headers["www-authenticate"]
    for scope in ("webhooks:read", "webhooks:write"):
        allowed = ask(polar, path, method=route.method, token=polar.create_token([scope]), body=BODY)
        assert (allowed.status == 403) is (scope not in route.scopes)


def test_endpoint_made_is_the_one_listed_with_its_secret(polar: FakePolar, contract: dict[str, Any]) -> None:
    made = create(polar, name="Mirror")
    validate(contract, "WebhookEndpoint", made)
    assert made["secret"].startswith("whsec_")
    assert made["organization_id"] == polar.organization_id
    assert (made["enabled"], made["modified_at"], made["name"]) == (True, None, "Mirror")
    listed = ask(polar, PATH).json
    validate(contract, "ListResource_WebhookEndpoint_", listed)
    assert listed["items"] == [made]
    assert ask(polar, f"{PATH}/{made['id'].upper()}").json == made


def test_endpoints_are_listed_newest_first_in_pages(polar: FakePolar) -> None:
    made = [create(polar)["id"] for _ in range(3)]
    pages = [ask(polar, f"{PATH}?limit=2&page={page}").json for page in (1, 2, 3)]
    assert [one["id"] for page in pages for one in page["items"]] == made[::-1]
    assert {page["pagination"]["total_count"] for page in pages} == {3}
    assert ask(polar, f"{PATH}?organization_id={NOBODY}").json["items"] == []
    assert len(ask(polar, f"{PATH}?organization_id={polar.organization_id}").json["items"]) == 3


def test_secret_may_be_given_when_it_is_long_enough(polar: FakePolar) -> None:
    assert create(polar, secret="s" * 32)["secret"] == "s" * 32
    reply = ask(polar, PATH, method="POST", body={**BODY, "secret": "short"})
    assert [one["type"] for one in reply.json["detail"]] == ["string_too_short"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("missing", ["body", "url"]), ("missing", ["body", "format"]), ("missing", ["body", "events"])]),
        ({**BODY, "url": None}, [("string_type", ["body", "url"])]),
        ({**BODY, "url": "nowhere"}, [("url_parsing", ["body", "url"])]),
        ({**BODY, "url": "http://"}, [("url_parsing", ["body", "url"])]),
        ({**BODY, "url": "http://[broken"}, [("url_parsing", ["body", "url"])]),
        ({**BODY, "url": "ftp://example.com/"}, [("url_scheme", ["body", "url"])]),
        ({**BODY, "format": "xml"}, [("enum", ["body", "format"])]),
        ({**BODY, "events": "customer.created"}, [("list_type", ["body", "events"])]),
        ({**BODY, "events": ["customer.created", "x"]}, [("enum", ["body", "events", 1])]),
        ({**BODY, "name": 5}, [("string_type", ["body", "name"])]),
        (b"[1]", [("model_attributes_type", ["body"])]),
    ],
)
def test_bodies_that_do_not_fit_the_schema(polar: FakePolar, body: Any, errors: list[Any]) -> None:
    reply = ask(polar, PATH, method="POST", body=body)
    assert (reply.status, reply.json["error"]) == (422, "RequestValidationError")
    assert [(one["type"], one["loc"]) for one in reply.json["detail"]] == errors
    assert polar.webhooks.endpoints == []


def test_organization_cannot_be_named_beside_its_own_token(polar: FakePolar) -> None:
    reply = ask(polar, PATH, method="POST", body={**BODY, "organization_id": polar.organization_id})
    assert (reply.status, reply.json["error"]) == (422, "PolarRequestValidationError")


def test_patch_changes_what_it_names_and_takes_null_for_nothing(polar: FakePolar) -> None:
    made = create(polar, name="Mirror")
    path = f"{PATH}/{made['id']}"
    same = ask(polar, path, method="PATCH", body={"name": None, "events": None})
    assert same.json == made
    changed = ask(polar, path, method="PATCH", body={"enabled": False, "events": ["product.updated"]}).json
    assert changed["modified_at"] is not None
    assert {**changed, "modified_at": None} == {**made, "enabled": False, "events": ["product.updated"]}
    assert ask(polar, path, method="PATCH", body={"enabled": "no"}).status == 422


def test_new_secret_signs_what_is_sent_from_then_on(polar: FakePolar) -> None:
    made = create(polar)
    changed = ask(polar, f"{PATH}/{made['id']}/secret", method="PATCH").json
    assert changed["secret"].startswith("whsec_")
    assert changed["secret"] != made["secret"]
    assert ask(polar, f"{PATH}/{made['id']}").json == changed


def test_deleted_endpoint_is_gone_and_gets_no_more_events(polar: FakePolar) -> None:
    made = create(polar)
    reply = ask(polar, f"{PATH}/{made['id']}", method="DELETE")
    assert (reply.status, reply.body) == (204, b"")
    assert ask(polar, PATH).json["items"] == []
    polar.create_customer()
    assert polar.webhooks.events == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("PATCH", "/secret")):
        gone = ask(polar, f"{PATH}/{made['id']}{path}", method=method, body={})
        assert (gone.status, gone.json["error"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize("path", [PATH + "/{}", "/v1/webhooks/events/{}/redeliver"])
def test_id_that_is_none_is_422_and_an_unknown_one_404(polar: FakePolar, path: str) -> None:
    method = "POST" if "events" in path else "GET"
    assert ask(polar, path.format("nope"), method=method).status == 422
    assert ask(polar, path.format(NOBODY), method=method).json["error"] == "ResourceNotFound"


def test_change_over_http_is_told_to_the_endpoint_made_over_http(polar: FakePolar, receiver: Receiver) -> None:
    create(polar, url=receiver.url, events=["customer.created", "customer.updated", "customer.deleted"])
    own = ask(polar, "/v1/customers/", method="POST", body={"email": "a@example.com"}).json["id"]
    ask(polar, f"/v1/customers/{own}", method="PATCH", body={"name": "Ada"})
    ask(polar, f"/v1/customers/{own}", method="PATCH", body={"name": "Ada"})
    ask(polar, f"/v1/customers/{own}", method="DELETE")
    polar.webhooks.wait_until_sent()
    assert receiver.types == ["customer.created", "customer.updated", "customer.updated", "customer.deleted"]
    shown = [one.body["data"] for one in receiver.received]
    assert [one["name"] for one in shown] == [None, "Ada", "Ada", "Ada"]
    assert shown[1]["modified_at"] == shown[2]["modified_at"]


def test_redelivery_is_asked_for_and_done_later(polar: FakePolar, receiver: Receiver) -> None:
    create(polar, url=receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    (event,) = polar.webhooks.events
    reply = ask(polar, f"/v1/webhooks/events/{event.id}/redeliver", method="POST")
    assert (reply.status, reply.json) == (202, None)
    polar.webhooks.wait_until_sent()
    assert [one.id for one in receiver.received] == [event.id] * 2
