from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import requests

from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.testing.sender import Response, sign
from polar_sync.testing.webhook_rows import EVENT_TYPES, Endpoint
from polar_sync.testing.webhooks import POLAR_RETRY_DELAYS, RETRY_DELAYS
from tests.testing.asking import ask
from tests.testing.receiver import Received, Receiver

NOWHERE = "http://127.0.0.1:9/"


def fail(polar: FakePolar, times: int) -> Endpoint:
    """An endpoint whose last so many events have all failed for good."""
    polar.webhooks.post = lambda *_: Response(500, "no")
    endpoint = polar.webhooks.add_endpoint(NOWHERE, events=["product.updated"])
    polar.webhooks.sender.is_background = False
    for _ in range(times):
        polar.update_product(polar.products[0])
    polar.webhooks.flush()
    return endpoint


def test_event_arrives_signed_with_the_headers_that_polar_sends(polar: FakePolar, receiver: Receiver) -> None:
    endpoint = polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    before = int(polar.now().timestamp())
    customer = polar.create_customer(name="Nguyễn Văn A")
    polar.webhooks.wait_until_sent()
    (one,) = receiver.received
    event = polar.webhooks.get_event(one.id)
    timestamp = int(one.headers["webhook-timestamp"])
    assert before <= timestamp <= int(polar.now().timestamp())
    assert one.headers["webhook-signature"] == sign(
        endpoint.secret, event_id=one.id, timestamp=timestamp, body=one.text
    )
    assert (one.headers["user-agent"], one.headers["content-type"]) == ("polar.sh webhooks", "application/json")
    assert one.body == {"type": "customer.created", "timestamp": event.build()["created_at"], "data": customer}
    assert "Nguyễn" in one.text


def test_secret_is_made_up_like_polars_unless_it_is_given(polar: FakePolar) -> None:
    made, given = polar.webhooks.add_endpoint(NOWHERE), polar.webhooks.add_endpoint(NOWHERE, secret="s" * 32)
    assert made.secret.startswith("whsec_")
    assert len(made.secret) == 49
    assert given.secret == "s" * 32
    assert made.secret not in repr(made)
    assert made.events == EVENT_TYPES


def test_each_enabled_endpoint_gets_its_own_event_of_the_types_it_asked_for(polar: FakePolar) -> None:
    polar.webhooks.sender.stop()
    first = polar.webhooks.add_endpoint(NOWHERE, events=["customer.created", "customer.state_changed"])
    second = polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
    polar.webhooks.add_endpoint(NOWHERE, enabled=False)
    polar.webhooks.delete_endpoint(polar.webhooks.add_endpoint(NOWHERE))
    polar.create_customer()
    made = [(one.endpoint, one.type) for one in polar.webhooks.events]
    assert made == [(first, "customer.created"), (second, "customer.created"), (first, "customer.state_changed")]
    one, other, _ = polar.webhooks.events
    assert one.id != other.id
    assert one.created_at == other.created_at
    assert one.payload == other.payload


def test_changes_in_silence_are_told_to_nobody(polar: FakePolar) -> None:
    polar.webhooks.sender.stop()
    polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
    with polar.webhooks.silence():
        polar.create_customer()
        assert polar.webhooks.make_events("customer.created", {}) == []
    polar.generate_customers(5)
    assert polar.webhooks.events == []
    polar.create_customer()
    assert len(polar.webhooks.events) == 1


def test_times_of_events_and_deliveries_never_repeat_though_the_clock_stands(receiver: Receiver) -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    polar = FakePolar(seed=1, clock=lambda: moment)
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    for _ in range(5):
        polar.create_customer()
    polar.webhooks.wait_until_sent()
    happened = [one.created_at for one in polar.webhooks.events]
    delivered = [one.created_at for one in polar.webhooks.deliveries]
    for times in (happened, delivered):
        assert all(earlier < later for earlier, later in pairwise(times))
    assert len({*happened, *delivered}) == 10
    assert {one.headers["webhook-timestamp"] for one in receiver.received} == {str(int(moment.timestamp()))}


def test_clock_is_not_asked_while_the_server_is_made() -> None:
    times: list[datetime] = []
    FakePolar(seed=1, clock=lambda: times[-1])


def test_clock_that_is_set_back_is_followed(polar: FakePolar) -> None:
    polar.webhooks.sender.stop()
    polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
    polar.create_customer()
    polar.clock_offset = timedelta(hours=-3)
    polar.create_customer()
    earlier, later = (one.created_at for one in polar.webhooks.events)
    assert timedelta(hours=2) < earlier - later < timedelta(hours=3)


def test_failed_attempts_are_tried_again_ten_times_in_all(polar: FakePolar, receiver: Receiver) -> None:
    receiver.answer = lambda _: 503
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    (event,) = polar.webhooks.events
    assert [one.id for one in receiver.received] == [event.id] * 10
    assert (event.succeeded, event.last_http_code) == (False, 503)
    assert [(one.succeeded, one.http_code, one.response) for one in polar.webhooks.deliveries] == [
        (False, 503, "thank you")
    ] * 10


def test_retry_that_succeeds_is_the_last(polar: FakePolar, receiver: Receiver) -> None:
    receiver.answer = lambda _: 200 if len(receiver.received) == 3 else 500
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    assert [one.http_code for one in polar.webhooks.deliveries] == [500, 500, 200]
    assert polar.webhooks.events[0].succeeded is True


def test_attempt_is_signed_at_its_own_time() -> None:
    times = [datetime(2026, 6, 1, tzinfo=UTC)]
    polar = FakePolar(seed=1, clock=lambda: times[-1])
    sent: list[dict[str, str]] = []

    def post(_: str, headers: dict[str, str], __: bytes, ___: float) -> Response:
        sent.append(headers)
        times.append(times[-1] + timedelta(minutes=5))
        return Response(500 if len(sent) == 1 else 200, None)

    polar.webhooks.post = post
    polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    first, second = (int(one["webhook-timestamp"]) for one in sent)
    assert second - first == 300
    assert sent[0]["webhook-signature"] != sent[1]["webhook-signature"]


def test_event_that_fails_does_not_hold_up_the_next(polar: FakePolar, receiver: Receiver) -> None:
    arrived = threading.Event()

    def answer(one: Received) -> int:
        if one.body["data"]["name"] == "bad":
            return 500
        arrived.set()
        return 200

    receiver.answer = answer
    polar.webhooks.retry_delays = (3600.0,)
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer(name="bad")
    polar.create_customer(name="good")
    assert arrived.wait(5.0)
    polar.webhooks.sender.stop()
    assert [one.is_pending for one in polar.webhooks.events] == [True, False]


def test_delays_grow_and_polars_own_take_half_an_hour() -> None:
    assert len(RETRY_DELAYS) == len(POLAR_RETRY_DELAYS) == 9
    for delays in (RETRY_DELAYS, POLAR_RETRY_DELAYS):
        assert all(earlier < later for earlier, later in pairwise(delays))
    assert sum(RETRY_DELAYS) < 1
    assert 17 * 60 <= sum(POLAR_RETRY_DELAYS) <= 35 * 60


def test_tenth_finished_failure_in_a_row_disables_the_endpoint(polar: FakePolar) -> None:
    assert fail(polar, 9).enabled
    polar.update_product(polar.products[0])
    polar.webhooks.flush()
    (endpoint,) = polar.webhooks.endpoints
    assert not endpoint.enabled
    assert endpoint.modified_at is not None
    polar.update_product(polar.products[0])
    assert len(polar.webhooks.events) == 10


def test_one_success_among_the_last_ten_keeps_the_endpoint_enabled(polar: FakePolar) -> None:
    endpoint = fail(polar, 5)
    polar.webhooks.post = lambda *_: Response(200, None)
    polar.update_product(polar.products[0])
    polar.webhooks.flush()
    polar.webhooks.post = lambda *_: Response(500, None)
    for _ in range(9):
        polar.update_product(polar.products[0])
    polar.webhooks.flush()
    assert endpoint.enabled
    polar.update_product(polar.products[0])
    polar.webhooks.flush()
    assert not endpoint.enabled


def test_events_pending_when_the_endpoint_is_disabled_are_skipped(polar: FakePolar) -> None:
    polar.webhooks.retry_delays = ()
    endpoint = fail(polar, 12)
    assert not endpoint.enabled
    assert [(one.succeeded, one.skipped) for one in polar.webhooks.events] == [(False, False)] * 10 + [(None, True)] * 2
    assert len(polar.webhooks.deliveries) == 10


def test_nobody_waits_for_the_retries_of_a_skipped_event(polar: FakePolar, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500
    polar.webhooks.retry_delays = (3600.0,)
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    with pytest.raises(TimeoutError):
        polar.webhooks.wait_until_sent(0.2)
    polar.webhooks.retry_delays = ()
    for _ in range(10):
        polar.create_customer()
    polar.webhooks.wait_until_sent(10.0)
    assert [(one.succeeded, one.skipped) for one in polar.webhooks.events] == [(None, True)] + [(False, False)] * 10


def test_endpoint_that_is_enabled_again_gets_new_events_and_no_old_ones(polar: FakePolar) -> None:
    endpoint = fail(polar, 10)
    polar.update_product(polar.products[0])
    polar.webhooks.post = lambda *_: Response(200, None)
    polar.webhooks.update_endpoint(endpoint, enabled=True)
    polar.update_product(polar.products[0])
    polar.webhooks.flush()
    assert [one.succeeded for one in polar.webhooks.events] == [False] * 10 + [True]
    assert endpoint.enabled


def test_event_of_an_endpoint_disabled_by_hand_is_skipped_when_its_turn_comes(polar: FakePolar) -> None:
    polar.webhooks.sender.is_background = False
    endpoint = polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.update_endpoint(endpoint, enabled=False)
    polar.webhooks.flush()
    assert [(one.succeeded, one.skipped) for one in polar.webhooks.events] == [(None, True)]
    assert polar.webhooks.deliveries == []


def test_redelivery_is_a_new_attempt_of_the_old_event(polar: FakePolar, receiver: Receiver) -> None:
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    polar.webhooks.redeliver(receiver.received[0].id)
    polar.webhooks.wait_until_sent()
    first, second = receiver.received
    assert (first.id, first.text) == (second.id, second.text)
    assert len(polar.webhooks.deliveries) == 2
    assert len({one.id for one in polar.webhooks.deliveries}) == 2


def test_redelivery_that_fails_leaves_the_event_succeeded(polar: FakePolar, receiver: Receiver) -> None:
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    receiver.answer = lambda _: 500
    polar.webhooks.redeliver(receiver.received[0].id)
    polar.webhooks.wait_until_sent()
    assert [one.succeeded for one in polar.webhooks.deliveries] == [True] + [False] * 9
    assert polar.webhooks.events[0].succeeded is True


def test_archived_event_has_no_payload_and_is_not_sent_again(polar: FakePolar, receiver: Receiver) -> None:
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    polar.webhooks.archive(receiver.received[0].id)
    polar.webhooks.redeliver(receiver.received[0].id)
    polar.webhooks.wait_until_sent()
    assert len(receiver.received) == 1
    assert polar.webhooks.sender.errors == []
    built = polar.webhooks.deliveries[0].build()["webhook_event"]
    assert (built["payload"], built["is_archived"]) == (None, True)


def test_unreachable_receiver_is_a_delivery_without_a_status(polar: FakePolar) -> None:
    polar.webhooks.retry_delays = ()
    polar.webhooks.add_endpoint("http://127.0.0.1:1/", events=["customer.created"])
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    (delivery,) = polar.webhooks.deliveries
    assert (delivery.succeeded, delivery.http_code, delivery.event.last_http_code) == (False, None, None)
    assert delivery.response


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_out_of_order_events_arrive_otherwise_than_they_happened(
    polar: FakePolar, receiver: Receiver, is_shuffled: bool
) -> None:
    polar.webhooks.out_of_order = is_shuffled
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    for _ in range(20):
        polar.create_customer()
    polar.webhooks.wait_until_sent()
    happened = [one.body["timestamp"] for one in receiver.received]
    assert len(happened) == 20
    assert (happened != sorted(happened)) is is_shuffled


@pytest.mark.parametrize("is_on", [False, True])
def test_duplicates_carry_the_same_id(polar: FakePolar, receiver: Receiver, is_on: bool) -> None:
    polar.webhooks.sends_duplicates = is_on
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    for _ in range(20):
        polar.create_customer()
    polar.webhooks.wait_until_sent()
    ids = [one.id for one in receiver.received]
    assert len(set(ids)) == 20
    assert (len(ids) > 20) is is_on
    assert len(ids) < 40


@pytest.mark.parametrize("form", ["slack", "discord"])
def test_other_formats_are_not_polars_json(polar: FakePolar, receiver: Receiver, form: str) -> None:
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"], format=form)
    polar.create_customer()
    polar.webhooks.wait_until_sent()
    body = receiver.received[0].body
    assert {"type", "data", "timestamp"}.isdisjoint(body)
    assert body["text" if form == "slack" else "content"] == "customer.created"


def test_lone_surrogate_is_sent_as_its_escape(polar: FakePolar, receiver: Receiver) -> None:
    polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    polar.create_customer(name="\ud800")
    polar.webhooks.wait_until_sent()
    assert "\\ud800" in receiver.received[0].text


def test_receiver_may_ask_the_server_while_it_is_told(receiver: Receiver) -> None:
    with FakePolarServer() as server:
        headers = {"Authorization": f"Bearer {server.polar.access_token}"}

        def fetch(_: Any) -> int:
            return requests.get(f"{server.url}/v1/webhooks/deliveries", headers=headers, timeout=5).status_code

        receiver.answer = fetch
        server.polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
        server.polar.create_customer()
        server.polar.webhooks.wait_until_sent()
    assert [one.http_code for one in server.polar.webhooks.deliveries] == [200]


def test_stopped_server_sends_nothing_more(receiver: Receiver) -> None:
    with FakePolarServer() as server:
        server.polar.webhooks.add_endpoint(receiver.url, events=["customer.created"])
        before = threading.active_count()
    server.polar.create_customer()
    assert threading.active_count() < before
    assert receiver.received == []
    assert [one.is_pending for one in server.polar.webhooks.events] == [True]


def test_error_of_the_sender_is_raised_at_the_end_of_the_server() -> None:
    def serve() -> None:
        with FakePolarServer() as server:
            server.polar.webhooks.post = lambda *_: json.loads("wrong")
            server.polar.webhooks.add_endpoint(NOWHERE, events=["customer.created"])
            server.polar.create_customer()
            server.polar.webhooks.wait_until_sent()

    with pytest.raises(RuntimeError, match="failed while it sent"):
        serve()


def test_organizations_of_one_server_have_their_own_endpoints(receiver: Receiver) -> None:
    first = FakePolar(seed=1)
    second = first.add_organization(seed=2)
    second.webhooks.add_endpoint(receiver.url, events=["customer.created"])
    first.create_customer()
    own = second.create_customer()
    first.webhooks.wait_until_sent()
    assert [one.body["data"]["id"] for one in receiver.received] == [own["id"]]
    assert ask(first, "/v1/webhooks/deliveries").json["items"] == []
    listed = ask(first, "/v1/webhooks/deliveries", token=second.access_token).json["items"]
    assert [one["webhook_event"]["id"] for one in listed] == [receiver.received[0].id]


def test_same_seed_makes_the_same_ids_and_secrets() -> None:
    made = []
    for _ in range(2):
        polar = FakePolar(seed=5)
        polar.webhooks.sender.stop()
        endpoint = polar.webhooks.add_endpoint(NOWHERE)
        polar.create_customer()
        made.append((endpoint.id, endpoint.secret, [one.id for one in polar.webhooks.events]))
    assert made[0] == made[1]
