"""The receiver: what is verified is kept, acknowledged and processed; everything else is refused and leaves nothing."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from celery import current_app
from django.db import OperationalError, connection
from django.test import AsyncClient, Client
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from polar_sync import tasks
from polar_sync.models import Customer, Organization, WebhookDelivery
from polar_sync.tokens import Token
from polar_sync.webhooks import signatures
from polar_sync.webhooks.registration import send_test_delivery
from polar_sync.webhooks.signatures import sign
from tests.factories import ORGANIZATION_ID, build_customer, build_full_state, make_id
from tests.store.support import law, rolled_back
from tests.sync.hearing import list_verdicts, read_recording, write_event

pytestmark = pytest.mark.django_db

URL = "/polar/webhooks/default/"
SECRET = "whsec_TheFirstSecretOfTheseTests0123456789abc"
NEXT_SECRET = "whsec_TheNextSecretOfTheseTests9876543210xyz"
NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
LIMIT = 4096
many = hypothesis_settings(law, max_examples=200)


@pytest.fixture(autouse=True)
def _configured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organization with a secret, no broker, and a clock that stands still."""
    configure(settings, WEBHOOK_SECRETS=[SECRET])
    monkeypatch.setattr(signatures, "get_time", lambda: NOW)
    monkeypatch.setattr(current_app.conf, "broker_url", None)


def configure(settings: Settings, **keys: object) -> None:
    entry = {"ACCESS_TOKEN": "polar_oat_never_used", "ORGANIZATION_ID": str(ORGANIZATION_ID), **keys}
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}, "WEBHOOK_MAX_BODY_BYTES": LIMIT}


def write_customer(name: str = "Ada", **fields: Any) -> bytes:
    return write_event("customer.created", build_customer(name, **fields), at=NOW).encode()


def sign_body(
    body: bytes, *, secret: str = SECRET, message_id: str | None = None, at: datetime = NOW
) -> dict[str, str]:
    return sign(body, message_id=message_id or str(uuid4()), signed_at=at, secret=Token(secret))


def post(body: bytes, headers: dict[str, str] | None = None, *, url: str = URL, client: Client | None = None) -> Any:
    """Deliver a body, signed as Polar does where no headers are given."""
    given = sign_body(body) if headers is None else headers
    return (client or Client()).post(url, data=body, content_type="application/json", headers=given)


@contextmanager
def nothing_kept() -> Iterator[None]:
    yield
    assert not WebhookDelivery.objects.exists()
    assert not Organization.objects.exists()


# What is taken


def test_delivery_is_kept_acknowledged_and_processed() -> None:
    body = write_customer()
    headers = sign_body(body)
    response = post(body, headers)
    assert (response.status_code, response.json()) == (202, {"status": "received"})
    kept = WebhookDelivery.objects.get()
    assert (kept.webhook_id, kept.payload, kept.via) == (headers["webhook-id"], body.decode(), "webhook")
    assert (kept.type, kept.timestamp, str(kept.customer_id)) == ("customer.created", NOW, make_id("Ada"))
    assert (kept.status, kept.reason) == ("processed", "")
    assert Customer.objects.get().name == "Ada Ada"


def test_same_delivery_again_is_acknowledged_and_kept_once() -> None:
    body = write_customer()
    headers = sign_body(body)
    assert [post(body, headers).json()["status"] for _ in range(3)] == ["received", "known", "known"]
    # Another attempt has another time and another signature, and the same id.
    again = sign_body(body, message_id=headers["webhook-id"], at=NOW + timedelta(seconds=40))
    assert post(body, again).status_code == 202
    assert list_verdicts() == [("customer.created", "processed")]


def test_same_event_of_two_endpoints_is_two_deliveries() -> None:
    body = write_customer()
    assert [post(body).json()["status"] for _ in range(2)] == ["received", "received"]
    assert Customer.objects.count() == 1


def test_type_that_nobody_knows_is_kept_and_ignored() -> None:
    body = write_event("checkout.invented", {"id": make_id("checkout")}, at=NOW).encode()
    assert post(body).status_code == 202
    kept = WebhookDelivery.objects.get()
    assert (kept.status, kept.payload, kept.customer_id) == ("ignored", body.decode(), None)


def test_delivery_that_the_command_sends_to_try_the_endpoint_is_answered_with_202(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.webhooks.registration.get_time", lambda: NOW)
    result = send_test_delivery(f"{live_server.url}{URL}", secret=Token(SECRET))
    assert (result.status, result.problem) == (202, "")
    kept = WebhookDelivery.objects.get()
    assert (kept.type, kept.status) == ("polar_sync.test", "ignored")


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET])
def test_both_secrets_are_taken_while_one_replaces_the_other(settings: Settings, secret: str) -> None:
    configure(settings, WEBHOOK_SECRETS=[NEXT_SECRET, SECRET])
    body = write_customer()
    assert post(body, sign_body(body, secret=secret)).status_code == 202


def test_former_secret_is_refused_once_it_is_gone_from_the_settings(settings: Settings) -> None:
    body = write_customer()
    headers = sign_body(body)
    configure(settings, WEBHOOK_SECRETS=NEXT_SECRET)
    with nothing_kept():
        assert post(body, headers).status_code == 403


def test_form_login_and_cookies_play_no_part() -> None:
    """Django's check against forged forms would refuse what has no token of it."""
    response = post(write_customer(), client=Client(enforce_csrf_checks=True))
    assert response.status_code == 202
    assert not response.cookies


@pytest.mark.django_db(transaction=True)
def test_delivery_is_committed_before_it_is_processed_with_a_transaction_around_every_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    seen: list[tuple[bool, int]] = []

    def enqueue(organization: str) -> None:
        seen.append((connection.in_atomic_block, WebhookDelivery.objects.count()))

    monkeypatch.setattr(tasks, "enqueue_processing", enqueue)
    assert post(write_customer()).status_code == 202
    assert seen == [(False, 1)]


def test_recorded_deliveries_are_all_taken_and_none_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *deliveries = read_recording("webhooks.jsonl.gz")
    configure(settings, WEBHOOK_SECRETS=first["secret"], ORGANIZATION_ID=None)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WEBHOOK_MAX_BODY_BYTES": 1024 * 1024}
    for delivery in deliveries:
        received_at = datetime.fromtimestamp(delivery["received_at"], UTC)
        monkeypatch.setattr(signatures, "get_time", lambda at=received_at: at)
        assert post(delivery["body"].encode(), delivery["headers"]).status_code == 202
    assert WebhookDelivery.objects.count() == len({each["headers"]["webhook-id"] for each in deliveries})
    assert {status for _, status in list_verdicts()} <= {"processed", "stale", "ignored"}
    assert Customer.all_objects.exists()


# Who processes it


def test_broker_is_told_of_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://broker")
    monkeypatch.setattr(tasks.process_deliveries, "apply_async", lambda args, **_: sent.append(args))
    body = write_customer()
    headers = sign_body(body)
    post(body, headers)
    assert (sent, list_verdicts()) == ([("default",)], [("customer.created", "received")])
    post(body, headers)
    assert sent == [("default",)]


def test_delivery_is_kept_and_acknowledged_while_the_broker_is_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://broker")

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(tasks.process_deliveries, "apply_async", refuse)
    assert post(write_customer()).status_code == 202
    assert list_verdicts() == [("customer.created", "received")]
    assert "Deliveries for default are kept" in caplog.text


def test_delivery_is_acknowledged_where_processing_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is busy")

    monkeypatch.setattr("polar_sync.sync.process_deliveries", fail)
    assert post(write_customer()).status_code == 202
    assert list_verdicts() == [("customer.created", "received")]


# What is refused


@pytest.mark.parametrize("url", ["/polar/webhooks/other/", "/polar/webhooks/Default/", "/polar/webhooks/%00/"])
def test_organization_that_the_settings_do_not_name_is_not_found(url: str) -> None:
    with nothing_kept():
        assert post(write_customer(), url=url).status_code == 404


def test_organization_without_a_secret_is_not_found(settings: Settings) -> None:
    configure(settings)
    with nothing_kept():
        assert post(write_customer()).status_code == 404


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head"])
def test_only_post_is_allowed(method: str) -> None:
    response = getattr(Client(), method)(URL)
    assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "change",
    [
        lambda headers, body: ({}, body),
        lambda headers, body: (headers, body + b" "),
        lambda headers, body: (headers, b""),
        lambda headers, body: ({**headers, "webhook-id": str(uuid4())}, body),
        lambda headers, body: (sign_body(body, secret=NEXT_SECRET), body),
        lambda headers, body: (sign_body(body, at=NOW - timedelta(seconds=302)), body),
        lambda headers, body: (sign_body(body, at=NOW + timedelta(seconds=302)), body),
        lambda headers, body: ({**headers, "webhook-signature": "v1,"}, body),
        lambda headers, body: (headers, b"\xff\xfe"),
    ],
    ids=["unsigned", "altered", "empty", "another id", "another secret", "old", "ahead", "no signature", "no text"],
)
def test_what_polar_did_not_sign_lately_is_refused_and_leaves_nothing(
    change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]],
) -> None:
    body = write_customer()
    headers, sent = change(sign_body(body), body)
    with nothing_kept():
        assert post(sent, headers).status_code == 403


@pytest.mark.parametrize(("length", "status"), [(200, 202), (201, 403)])
def test_id_that_no_row_can_hold_is_refused(length: int, status: int) -> None:
    body = write_customer()
    assert post(body, sign_body(body, message_id="x" * length)).status_code == status
    assert WebhookDelivery.objects.count() == (status == 202)


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"type": "customer.created", "data": {}}',
        b'{"type": "customer.created", "timestamp": "2026-11-21T12:00:00Z"}',
        b'{"type": "customer.created", "timestamp": "2026-11-21T12:00:00Z", "data": []}',
        b'{"type": "customer.created", "timestamp": "yesterday", "data": {}}',
        b'{"type": 7, "timestamp": "2026-11-21T12:00:00Z", "data": {}}',
        b'{"type": "customer\\u0000created", "timestamp": "2026-11-21T12:00:00Z", "data": {}}',
        b'{"type": "%s", "timestamp": "2026-11-21T12:00:00Z", "data": {}}' % (b"x" * 101),
        b"[" * 2000,
    ],
)
def test_signed_body_that_is_no_event_is_a_bad_request(body: bytes) -> None:
    with nothing_kept():
        assert post(body).status_code == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
TIMES = st.one_of(
    JSON,
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"]),
)
TYPES = st.sampled_from(
    [
        "customer.state_changed",
        "customer.updated",
        "subscription.updated",
        "benefit_grant.created",
        "benefit.updated",
        "product.updated",
        "meter.updated",
        "order.paid",
        "customer_seat.revoked",
        "member.created",
        "polar_sync.test",
    ]
)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.uuids().map(str) | JSON,
        "customer_id": st.uuids().map(str) | JSON,
        "subscription_id": st.uuids().map(str) | JSON,
        "organization_id": st.just(str(ORGANIZATION_ID)) | JSON,
        "status": st.sampled_from(["active", "past_due", "canceled"]) | JSON,
        "modified_at": TIMES,
        "created_at": TIMES,
        "is_granted": st.booleans() | JSON,
        "benefit": JSON | st.fixed_dictionaries({"id": st.uuids().map(str), "metadata": JSON}),
        "metadata": JSON,
        "name": JSON,
        "granted_benefits": JSON,
        "active_subscriptions": JSON,
    },
)
EVENTS = st.fixed_dictionaries(
    {"type": TYPES | JSON, "timestamp": st.just("2026-11-21T12:00:00Z") | TIMES, "data": OBJECTS | JSON}
)


@given(event=EVENTS)
@many
@example(event={"type": "benefit.updated", "timestamp": "0001-01-01T00:00:00Z", "data": {"id": make_id("benefit")}})
@example(event={"type": "customer.state_changed", "timestamp": "0001-01-01T00:00:00Z", "data": build_full_state("Ada")})
@example(event={"type": "customer.updated", "timestamp": "9999-12-31T23:59:59.9Z", "data": build_customer("Ada")})
@example(event={"type": "x", "timestamp": "0001-01-01T00:00:00+23:59", "data": {"id": "\ud800\x00"}})
def test_signed_bodies_of_any_kind_are_taken_or_refused_without_an_error(event: Any) -> None:
    with rolled_back():
        body = json.dumps(event).encode()
        if len(body) > LIMIT:
            return
        status = post(body, client=Client(raise_request_exception=False)).status_code
        assert status in {202, 400}
        assert WebhookDelivery.objects.count() == (status == 202)


FORMS = ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
HEADER_TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=300)


@given(
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    message_id=HEADER_TEXT | st.none(),
    timestamp=HEADER_TEXT | st.integers().map(str) | st.just(str(int(NOW.timestamp()))) | st.none(),
    signature=HEADER_TEXT | HEADER_TEXT.map(lambda text: f"v1,{text}") | st.none(),
    content_type=HEADER_TEXT
    | st.sampled_from(["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]),
    length=HEADER_TEXT | st.integers().map(str) | st.text(string.digits, min_size=1, max_size=5000) | st.none(),
)
@many
@example(b"{}", "\xb2", "\xb2", "v1,\xb2", "", "\xb2")
@example(b"{}", "id", "1" * 5000, "v1,x", "application/json; charset=utf-99", "9" * 5000)
@example(b"{}", "id", str(int(NOW.timestamp())), "v1,x", "application/json", "-1")
def test_unsigned_requests_of_any_kind_are_refused_without_an_error(
    body: bytes,
    message_id: str | None,
    timestamp: str | None,
    signature: str | None,
    content_type: str,
    length: str | None,
) -> None:
    headers = {
        "HTTP_WEBHOOK_ID": message_id,
        "HTTP_WEBHOOK_TIMESTAMP": timestamp,
        "HTTP_WEBHOOK_SIGNATURE": signature,
        "CONTENT_LENGTH": length,
    }
    with rolled_back():
        status, _ = serve_request(BytesIO(body), CONTENT_TYPE=content_type, **headers)
        assert 400 <= status < 500
        assert not WebhookDelivery.objects.exists()


# The size of a body


class Counting(BytesIO):
    """The body as a server hands it over, which knows how much of it was taken."""

    taken = 0

    def __len__(self) -> int:
        return len(self.getbuffer())

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.taken += len(content)
        return content


class Broken(BytesIO):
    """The sender has gone."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("connection reset by peer")


def serve_request(body: BytesIO, **environ: str | None) -> tuple[int, bytes]:
    """Answer a request as a WSGI server has it answered; headers of None are not sent."""
    given = {name: value for name, value in environ.items() if value is not None}
    client = Client(raise_request_exception=False)
    response = client.request(**{"REQUEST_METHOD": "POST", "PATH_INFO": URL, "wsgi.input": body, **given})
    return response.status_code, response.content


def to_environ(headers: dict[str, str]) -> dict[str, str]:
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def build_body(size: int) -> bytes:
    """A valid event of just so many bytes."""
    body = write_customer()
    return body + b" " * (size - len(body))


def test_body_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert post(build_body(LIMIT)).status_code == 202
    assert post(build_body(LIMIT + 1)).status_code == 413
    assert WebhookDelivery.objects.count() == 1


def test_body_that_says_that_it_is_too_large_is_not_read_at_all() -> None:
    body = build_body(LIMIT * 100)
    stream = Counting(body)
    with nothing_kept():
        status, _ = serve_request(stream, CONTENT_LENGTH=str(len(body)), **to_environ(sign_body(body)))
    assert (status, stream.taken) == (413, 0)


@pytest.mark.parametrize("length", ["-1", "x", "", None, "1", "١", "1_000", "9" * 5000, "1e3"])
def test_no_more_than_the_limit_is_read_of_a_body_that_lies_about_its_length(length: str | None) -> None:
    body = build_body(LIMIT * 100)
    stream = Counting(body)
    with nothing_kept():
        status, _ = serve_request(stream, CONTENT_LENGTH=length, **to_environ(sign_body(body)))
    assert 400 <= status < 500
    assert stream.taken <= LIMIT + 1


async def post_under_asgi(body: BytesIO, headers: dict[str, str]) -> int:
    """As a server does that was sent the body in chunks: without a length."""
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    client = AsyncClient()
    scope = {"method": "POST", "path": URL, "headers": named, "_body_file": body}
    response = await client.request(**scope)
    return response.status_code


@pytest.mark.django_db(transaction=True)
def test_body_without_a_length_is_measured_under_asgi() -> None:
    """There a server hands over all that was sent."""
    for size, expected in ((LIMIT, 202), (LIMIT + 1, 413), (LIMIT * 100, 413)):
        body = build_body(size)
        stream = Counting(body)
        assert async_to_sync(post_under_asgi)(stream, sign_body(body)) == expected
        assert stream.taken <= LIMIT + 1


def test_sender_that_breaks_off_is_refused() -> None:
    body = write_customer()
    with nothing_kept():
        status, _ = serve_request(Broken(), CONTENT_LENGTH=str(len(body)), **to_environ(sign_body(body)))
    assert 400 <= status < 500


# What must not be seen


def test_no_secret_signature_or_body_is_in_a_log_or_an_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    body = write_customer("Ada", email="ada.private@example.com", metadata={"diagnosis": "private matter"})
    good, other = sign_body(body), sign_body(body, secret=NEXT_SECRET)
    private = [SECRET, NEXT_SECRET, good["webhook-signature"], other["webhook-signature"], "private", "polar_oat"]
    private += [each.removeprefix("v1,") for each in private[2:4]]
    no_event = body.replace(b'"timestamp"', b'"private time"')
    answers = [
        post(body, other),
        post(body, {**good, "webhook-timestamp": "private"}),
        post(body, {**good, "webhook-id": "not private "}),
        post(no_event),
        post(build_body(LIMIT * 2), good),
        post(body, good, url="/polar/webhooks/other/"),
    ]

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("while it was processed")

    with monkeypatch.context() as patched:
        patched.setattr("polar_sync.sync.event_batch.apply", fail)
        answers.append(post(body, good))
    answers.append(post(body, good))
    assert [answer.status_code for answer in answers] == [403, 403, 403, 400, 413, 404, 202, 202]
    shown = "\n".join([caplog.text, *(answer.content.decode() for answer in answers)])
    assert "was refused with 403" in shown
    assert "is tried again" in shown
    assert not [each for each in private if each in shown]
