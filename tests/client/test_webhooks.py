"""Webhook endpoints and deliveries: what is asked, what is returned, and that no secret is shown."""

from __future__ import annotations

import json
import logging
import pickle
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.secrets import mask_secrets, redact_secrets
from polar_sync.exceptions import (
    ConfigurationError,
    NetworkError,
    NotFoundError,
    PolarError,
    PolarSyncError,
    UnreadableAnswerError,
    ValidationError,
)
from polar_sync.tokens import Token
from tests.client.conftest import TOKEN, MakeClient, TimeLimitError
from tests.client.scripted import Reply, ScriptedServer
from tests.exposure import expose

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
ENDPOINTS = "/v1/webhooks/endpoints"
SECRET = "whsec_" + "S3cret" * 6
URL = "https://shop.test/polar/webhooks/default/"
ENDPOINT = {"id": ID, "url": URL, "format": "raw", "secret": SECRET, "events": ["customer.created"], "enabled": True}
MASKED = {**ENDPOINT, "secret": Token(SECRET)}
NO_PAGE = {"items": [], "pagination": {"total_count": 0, "max_page": 0}}

Ask = Callable[[PolarClient], Any]


def make_page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "pagination": {"total_count": len(items), "max_page": 1}}


OPERATIONS: list[Any] = [
    pytest.param(lambda c: c.webhook_endpoints.get(ID), "GET", f"{ENDPOINTS}/{ID}", id="get"),
    pytest.param(lambda c: c.webhook_endpoints.create(url=URL, events=["a"]), "POST", ENDPOINTS, id="create"),
    pytest.param(
        lambda c: c.webhook_endpoints.update(UUID(ID), enabled=True), "PATCH", f"{ENDPOINTS}/{ID}", id="update"
    ),
    pytest.param(
        lambda c: c.webhook_endpoints.reset_secret(ID.upper()), "PATCH", f"{ENDPOINTS}/{ID}/secret", id="reset_secret"
    ),
]
ASKS: list[Any] = [
    *(pytest.param(each.values[0], id=each.id) for each in OPERATIONS),
    pytest.param(lambda c: c.webhook_endpoints.list(), id="list"),
    pytest.param(lambda c: c.webhook_endpoints.delete(ID), id="delete"),
]


@pytest.mark.parametrize(("ask", "method", "target"), OPERATIONS)
def test_operation_on_an_endpoint_returns_it_with_a_masked_secret(
    polar: ScriptedServer, client: PolarClient, ask: Ask, method: str, target: str
) -> None:
    polar.answer(Reply(body=ENDPOINT))
    endpoint = ask(client)
    assert endpoint == MASKED
    assert endpoint["secret"].reveal() == SECRET
    [received] = polar.received
    assert (received.method, received.target) == (method, target)
    assert received.headers["Authorization"] == f"Bearer {TOKEN}"


def test_endpoints_are_listed_with_masked_secrets(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=make_page(ENDPOINT, {**ENDPOINT, "secret": None}, "not an object")))
    page = client.webhook_endpoints.list(organization_id=ID, page=2, limit=7)
    assert page.items == [MASKED, {**ENDPOINT, "secret": None}, "not an object"]
    assert polar.targets == [f"{ENDPOINTS}?organization_id={ID}&page=2&limit=7"]


def test_created_endpoint_is_sent_as_polar_names_it(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=201, body=ENDPOINT))
    client.webhook_endpoints.create(url=URL, events=iter(["a", "b"]))
    client.webhook_endpoints.create(url=URL, events=[], format="slack", name="Mirror", organization_id=UUID(ID))
    assert [json.loads(each.body) for each in polar.received] == [
        {"url": URL, "events": ["a", "b"], "format": "raw"},
        {"url": URL, "events": [], "format": "slack", "name": "Mirror", "organization_id": ID},
    ]


def test_update_sends_only_what_changes(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=ENDPOINT))
    client.webhook_endpoints.update(ID, enabled=False)
    client.webhook_endpoints.update(ID, url=URL, events=("a",), format="raw", name="Mirror")
    assert [json.loads(each.body) for each in polar.received] == [
        {"enabled": False},
        {"url": URL, "events": ["a"], "format": "raw", "name": "Mirror"},
    ]


def test_new_secret_is_asked_for_without_a_body(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=ENDPOINT))
    client.webhook_endpoints.reset_secret(ID)
    assert polar.received[0].body == b""


def test_deleted_endpoint_needs_no_answer_but_a_success(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=204))
    before = datetime.now(UTC)
    assert client.webhook_endpoints.delete(ID).start <= before
    assert [(each.method, each.target) for each in polar.received] == [("DELETE", f"{ENDPOINTS}/{ID}")]


@pytest.mark.parametrize("body", [b"", b"null", b'{"anything": 1}'])
def test_event_is_delivered_again_whatever_the_answer_holds(
    polar: ScriptedServer, client: PolarClient, body: bytes
) -> None:
    polar.answer(Reply(status=202, body=body))
    client.webhook_deliveries.redeliver(UUID(ID))
    assert [(each.method, each.target) for each in polar.received] == [("POST", f"/v1/webhooks/events/{ID}/redeliver")]


def test_unknown_event_cannot_be_delivered_again(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=404, body={"error": "ResourceNotFound", "detail": "Not found"}))
    with pytest.raises(NotFoundError):
        client.webhook_deliveries.redeliver(ID)


def test_deliveries_are_asked_for_under_polars_names(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=NO_PAGE))
    client.webhook_deliveries.list(
        endpoint_id=[UUID(ID), "other"],
        start_timestamp=datetime(2026, 11, 20, 23, 19, 34, tzinfo=UTC),
        end_timestamp=datetime(2026, 11, 21, 1, 0, 0, 42, tzinfo=timezone(timedelta(hours=1))),
        succeeded=False,
        event_type=["customer.created", "order.paid"],
        page=3,
        limit=5,
    )
    assert polar.received[0].path == "/v1/webhooks/deliveries"
    assert polar.received[0].query == [
        ("endpoint_id", ID),
        ("endpoint_id", "other"),
        ("start_timestamp", "2026-11-20T23:19:34.000000Z"),
        ("end_timestamp", "2026-11-21T00:00:00.000042Z"),
        ("succeeded", "false"),
        ("event_type", "customer.created"),
        ("event_type", "order.paid"),
        ("page", "3"),
        ("limit", "5"),
    ]


def test_deliveries_without_a_filter_are_those_of_all_endpoints(polar: ScriptedServer, client: PolarClient) -> None:
    delivery = {"id": ID, "webhook_event": {"payload": '{"secret": "of a customer"}'}}
    polar.answer(Reply(body=make_page(delivery)))
    assert client.webhook_deliveries.list().items == [delivery]
    assert polar.received[0].query == [("page", "1"), ("limit", "100")]


def test_single_endpoint_and_event_type_may_be_a_text(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=NO_PAGE))
    client.webhook_deliveries.list(endpoint_id=ID, event_type="order.paid", succeeded=True)
    assert polar.received[0].query[:3] == [("endpoint_id", ID), ("succeeded", "true"), ("event_type", "order.paid")]


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.webhook_deliveries.list(start_timestamp=datetime(2026, 11, 20)),  # noqa: DTZ001
        lambda c: c.webhook_deliveries.list(endpoint_id=[]),
        lambda c: c.webhook_deliveries.list(event_type=[]),
        lambda c: c.webhook_deliveries.redeliver("../endpoints"),
        lambda c: c.webhook_endpoints.get("default"),
        lambda c: c.webhook_endpoints.delete(""),
    ],
)
def test_what_polar_cannot_be_asked_for_is_refused_before_a_request(
    polar: ScriptedServer, client: PolarClient, ask: Ask
) -> None:
    with pytest.raises(ConfigurationError):
        ask(client)
    assert polar.received == []


def test_secret_given_for_an_id_is_not_shown(client: PolarClient) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client.webhook_endpoints.get(SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("ask", ASKS[1:4])
def test_write_is_not_repeated_after_a_lost_answer(polar: ScriptedServer, client: PolarClient, ask: Ask) -> None:
    polar.answer(Reply(is_cut=True))
    with pytest.raises(NetworkError):
        ask(client)
    assert len(polar.received) == 1


def test_requests_are_counted_by_operation(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=NO_PAGE))
    client.webhook_endpoints.list()
    client.webhook_endpoints.get(ID)
    client.webhook_endpoints.reset_secret(ID)
    client.webhook_deliveries.list()
    client.webhook_deliveries.redeliver(ID)
    assert client.usage.operations == {
        f"webhooks/{name}": 1 for name in ("endpoints", "one", "secret", "deliveries", "redeliver")
    }


def test_returned_endpoint_shows_and_pickles_no_secret(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=make_page(ENDPOINT)), Reply(body=ENDPOINT))
    page, endpoint = client.webhook_endpoints.list(), client.webhook_endpoints.get(ID)
    assert SECRET not in f"{page} {endpoint} {endpoint!r}"
    for each in (page, endpoint):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(each)


ECHO = {
    "error": "PolarRequestValidationError",
    "detail": [
        {"type": "value_error", "loc": ["body", "url"], "msg": f"Not with {SECRET}.", "input": ENDPOINT},
        {"type": "value_error", "loc": ["body", "secret"], "msg": "Not tr0ub4dor.", "input": "tr0ub4dor"},
        {"type": "value_error", "loc": ["body", "name"], "msg": "Not swordfish."},
    ],
    "error_description": SECRET,
    "endpoint": {"secret": "swordfish"},
}
FAILURES = [
    Reply(status=status, body=ECHO, headers={"WWW-Authenticate": f'x scope="{SECRET}"', "Location": f"/{SECRET}"})
    for status in (301, 400, 401, 403, 404, 409, 500, 503)
]
FAILURES += [
    Reply(status=422, body=ECHO),
    Reply(status=422, body={"detail": f"Not {SECRET}"}),
    Reply(status=400, body={"detail": SECRET, "error": SECRET}),
    Reply(status=500, body=f"<html>{SECRET}</html>".encode()),
    Reply(body=json.dumps(ENDPOINT).encode()[:-1]),
    Reply(body=json.dumps(ENDPOINT).encode(), length=999),
    Reply(body=[ENDPOINT]),
    Reply(body={"items": [ENDPOINT], "secret": {"current": [SECRET]}}, headers={"Content-Type": SECRET}),
    Reply(body=ENDPOINT, version="1999-01"),
]


@pytest.mark.parametrize("reply", FAILURES, ids=lambda reply: str(reply.status))
@pytest.mark.parametrize("ask", ASKS)
def test_no_error_leads_to_a_secret(
    polar: ScriptedServer, make_client: MakeClient, caplog: pytest.LogCaptureFixture, ask: Ask, reply: Reply
) -> None:
    polar.answer(reply)
    client = make_client(max_attempts=2)
    error: PolarSyncError | None = None
    with caplog.at_level(logging.DEBUG):
        try:
            ask(client)
        except PolarSyncError as caught:
            error = caught
    # An answer with a success status can be of use to one operation and not to another.
    assert error is not None or reply.status == 200
    shown = "" if error is None else expose(error)
    for secret in (SECRET, "tr0ub4dor", "swordfish"):
        assert secret not in shown
        assert secret not in caplog.text


def test_validation_error_still_says_what_is_wrong(polar: ScriptedServer, client: PolarClient) -> None:
    detail = [{"type": "url_scheme", "loc": ["body", "url"], "msg": "URL scheme should be 'https'", "input": "ftp://x"}]
    polar.answer(Reply(status=422, body={"error": "PolarRequestValidationError", "detail": detail}))
    with pytest.raises(ValidationError, match=r"body\.url: URL scheme should be 'https'") as caught:
        client.webhook_endpoints.create(url="ftp://x", events=[])
    assert caught.value.error == "PolarRequestValidationError"
    assert caught.value.fields == ({"type": "url_scheme", "loc": ["body", "url"], "msg": detail[0]["msg"]},)


def test_endpoint_of_another_shape_is_unreadable_and_not_shown(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={"items": [ENDPOINT]}))
    with pytest.raises(UnreadableAnswerError) as caught:
        client.webhook_endpoints.list()
    shown = expose(caught.value)
    assert "shop.test" in shown
    assert SECRET not in shown


@pytest.mark.usefixtures("limited")
def test_interruption_while_an_endpoint_arrives_does_not_lead_to_its_secret(
    polar: ScriptedServer, client: PolarClient
) -> None:
    body = json.dumps(ENDPOINT).encode()

    def answer(_: object) -> Reply:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return Reply(pieces=[body[:-1], *([b" "] * 9), body[-1:]], pause=0.03)

    polar.answer(answer)
    with pytest.raises(TimeLimitError) as caught:
        client.webhook_endpoints.get(ID)
    assert SECRET not in expose(caught.value)


def test_error_of_another_operation_keeps_what_looks_like_a_secret(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=400, body={"detail": f"no customer {ID}"}))
    with pytest.raises(PolarError, match=ID):
        client.customers.get(ID)


TEXTS = st.text(max_size=8) | st.just(SECRET)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["secret", "old_Secrets", "loc", "input"]), inner),
)


@given(value=VALUES)
def test_secret_is_masked_wherever_its_name_stands(value: Any) -> None:
    masked = mask_secrets({"secret": value, "plain": [SECRET]})
    assert SECRET not in repr(masked["secret"])
    assert masked["plain"] == [SECRET]


@given(value=VALUES)
def test_no_error_body_keeps_a_secret(value: Any) -> None:
    redacted = redact_secrets({"detail": value, "secret": "p4ss", "error": "a p4ss"})
    assert SECRET not in repr(redacted)
    assert redacted["error"] == "a [secret]"
