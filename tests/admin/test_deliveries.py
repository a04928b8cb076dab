"""The list of webhook deliveries, a delivery's page, and having some processed again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.models import Organization, WebhookDelivery
from tests.admin.broker import collect_tasks, use_broker
from tests.factories import (
    apply_states,
    at,
    build_full_state,
    build_state,
    create_delivery,
    create_organization,
    make_id,
    read_at,
)

LIST = "/admin/polar_sync/webhookdelivery/"
TASK = "polar_sync.process_deliveries"
pytestmark = pytest.mark.django_db


@pytest.fixture
def processor(make_client: Callable[..., Client]) -> Client:
    """Somebody who may view everything, and have deliveries processed again."""
    return make_client("process_webhookdelivery")


@pytest.fixture
def configured(settings: Any) -> None:
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {name: {"ACCESS_TOKEN": f"polar_oat_{name}"} for name in ("default", "other")}
    }


@pytest.fixture
def sent() -> Iterator[list[tuple[Any, ...]]]:
    with collect_tasks() as found:
        yield found


def read(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def page_of(delivery: WebhookDelivery) -> str:
    return f"{LIST}{delivery.pk}/change/"


def list_types(client: Client, query: str = "") -> list[str]:
    """The types of the deliveries that the list shows, from top to bottom."""
    page = read(client, LIST + query).replace("<wbr>", "")
    return re.findall(r'field-type_text"><a [^>]*><bdi>([^<]*)</bdi>', page)


def tell(answer: Any) -> list[str]:
    """The messages that an answer leaves for the next page."""
    return [str(message) for message in get_messages(answer.wsgi_request)]


def choose(client: Client, *deliveries: WebhookDelivery) -> Any:
    """Send the action on the list."""
    keys = [str(delivery.pk) for delivery in deliveries]
    return client.post(LIST, {"action": "process_selected", "_selected_action": keys})


def test_list_tells_what_became_of_each_delivery(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_state("one"), interval=read_at(0))
    moment = at(0)
    late = moment + timedelta(seconds=75)
    create_delivery(organization, "one", received_at=late, timestamp=moment, status="processed", attempts=3)
    create_delivery(organization, "two", received_at=moment, status="ignored", reason="Nothing is mirrored of it.")
    page = read(viewer, LIST)
    link = f'<a href="/admin/polar_sync/customer/{make_id("one")}/change/"><bdi>Ada one</bdi></a>'
    for text in (link, "Processed", "1 min 15 s", "0.0 s", "Webhook", ">3<", "Nothing is mirrored of it."):
        assert text in page, text
    assert f">{make_id('two')}</code>" in page, "who is not mirrored is shown by the id"
    assert f"customer/{make_id('two')}/change/" not in page


def test_newest_delivery_comes_first(viewer: Client, organization: Organization) -> None:
    for name in ("customer.created", "customer.updated"):
        create_delivery(organization, name, type=name)
    assert list_types(viewer) == ["customer.updated", "customer.created"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?status=failed", ["customer.updated"]),
        ("?via=feed", ["customer.deleted"]),
        ("?type=customer.updated", ["customer.updated"]),
        ("?type=other", ["meter.invented"]),
        (f"?organization={UUID(int=1)}", ["customer.created"]),
    ],
)
def test_filters_find_their_deliveries(
    viewer: Client, organization: Organization, query: str, found: list[str]
) -> None:
    create_delivery(create_organization("other", polar_id=UUID(int=1)), "customer.created", type="customer.created")
    create_delivery(organization, "customer.updated", type="customer.updated", status="failed")
    create_delivery(organization, "customer.deleted", type="customer.deleted", via="feed")
    create_delivery(organization, "meter.invented", type="meter.invented")
    assert list_types(viewer, query) == found


def test_deliveries_are_found_by_their_own_id_and_by_those_of_a_customer(
    viewer: Client, organization: Organization
) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    create_delivery(organization, "one", type="customer.created")
    create_delivery(organization, "unknown", type="customer.updated", webhook_id="msg_2Lh")
    for text in (make_id("delivery one"), make_id("one"), make_id("subscription one.0"), make_id("one").upper()):
        assert list_types(viewer, f"?q={text}") == ["customer.created"], text
    for text in ("msg_2Lh", make_id("unknown")):
        assert list_types(viewer, f"?q={text}") == ["customer.updated"], text
    for text in (make_id("nobody"), "msg_", "one@example.com"):
        assert list_types(viewer, f"?q={text}") == [], text


def test_page_shows_the_payload_to_be_read_by_people(viewer: Client, organization: Organization) -> None:
    delivery = create_delivery(organization, "one", data={"id": "1", "name": "<b>\u202e"})
    page = read(viewer, page_of(delivery))
    assert "&quot;name&quot;: &quot;&lt;b&gt;\\u202e&quot;" in page
    assert '<pre class="polar-json" tabindex="0">{\n' in page


def test_secrets_in_a_payload_are_not_shown(viewer: Client, organization: Organization) -> None:
    data = {"client_secret": "polar_c_never", "nested": [{"customer_session_token": "polar_cst_never"}], "seats": 3}
    page = read(viewer, page_of(create_delivery(organization, "one", type="checkout.created", data=data)))
    assert "never" not in page.split('id="content"')[1]
    assert "&quot;client_secret&quot;: &quot;…&quot;" in page


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"payload": "", "scrubbed_at": timezone.now()}, "The payload was scrubbed"),
        ({"payload": ""}, "The payload is not kept."),
        ({"payload": "{"}, "The payload is no JSON."),
        ({"payload": "[" * 100_000}, "The payload is no JSON."),
    ],
)
def test_payload_that_cannot_be_shown_says_why(
    viewer: Client, organization: Organization, fields: dict[str, Any], text: str
) -> None:
    page = read(viewer, page_of(create_delivery(organization, "one", **fields)))
    assert text in page
    assert '<pre class="polar-json"' not in page


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"status": "ignored", "reason": "no_customer"}, ["Nothing in the mirror follows", "no_customer"]),
        ({"status": "stale", "reason": "older"}, ["held something at least as new", "older"]),
        (
            {"status": "failed", "reason": "StoreError: x", "attempts": 9},
            ["is not tried again", "StoreError: x", "9"],
        ),
        ({"next_attempt_at": timezone.now() + timedelta(hours=5.5)}, ["The next attempt is due", "in 5 hours"]),
    ],
)
def test_page_says_why_it_is_as_it_is(
    viewer: Client, organization: Organization, fields: dict[str, Any], texts: list[str]
) -> None:
    page = read(viewer, page_of(create_delivery(organization, "one", **fields)))
    assert [text for text in texts if text not in page] == []


def test_who_may_not_view_customers_sees_neither_names_nor_payloads(
    make_client: Callable[..., Client], organization: Organization
) -> None:
    apply_states(organization, build_state("one"), interval=read_at(0))
    delivery = create_delivery(organization, "one")
    client = make_client("view_webhookdelivery", is_viewer=False)
    for url in (LIST, page_of(delivery)):
        page = read(client, url)
        assert "Ada one" not in page
        assert "one@example.com" not in page
        assert f"customer/{make_id('one')}" not in page
    assert "it is shown to who may view customers" in read(client, page_of(delivery))
    assert make_client("view_customer", is_viewer=False).get(LIST).status_code == 403


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("configured")
def test_chosen_deliveries_are_processed_again_once_an_organization(
    processor: Client, organization: Organization, sent: list[tuple[Any, ...]]
) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    past = timezone.now()
    failed = create_delivery(organization, "one", status="failed", reason="?", attempts=9)
    waiting = create_delivery(organization, "two", next_attempt_at=past)
    elsewhere = create_delivery(other, "three", status="ignored", reason="?")
    left = create_delivery(organization, "four", status="failed", reason="?")
    answer = choose(processor, failed, waiting, elsewhere)
    for delivery in (failed, waiting, elsewhere):
        delivery.refresh_from_db()
        assert (delivery.status, delivery.next_attempt_at, delivery.reason) == ("received", None, "")
    left.refresh_from_db()
    assert left.status == "failed"
    assert sorted(sent) == [(TASK, "default"), (TASK, "other")]
    assert any("processes 2 deliveries of default again" in text for text in tell(answer))
    assert LogEntry.objects.filter(change_message="Process again").count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("configured")
def test_delivery_without_its_payload_is_left_out(
    processor: Client, organization: Organization, sent: list[tuple[Any, ...]]
) -> None:
    empty = create_delivery(organization, "one", status="failed", payload="")
    scrubbed = create_delivery(organization, "two", status="failed", scrubbed_at=timezone.now())
    answer = choose(processor, empty, scrubbed)
    assert tell(answer) == ["2 deliveries were left out: their payloads are not kept any more."]
    processor.post(f"{LIST}{scrubbed.pk}/process/")
    assert set(WebhookDelivery.objects.values_list("status", flat=True)) == {"failed"}
    assert sent == []
    assert "polar-button" not in read(processor, page_of(scrubbed))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("configured")
def test_button_processes_one_delivery_again(
    processor: Client, organization: Organization, sent: list[tuple[Any, ...]]
) -> None:
    delivery = create_delivery(organization, "one", status="failed", reason="?")
    door = f"{LIST}{delivery.pk}/process/"
    assert door in read(processor, page_of(delivery))
    assert processor.get(door).status_code == 405
    answer = processor.post(door)
    assert (answer.status_code, answer["Location"]) == (303, page_of(delivery))
    assert sent == [(TASK, "default")]
    delivery.refresh_from_db()
    assert delivery.status == "received"
    assert processor.post(f"{LIST}0/process/").status_code == 404


@pytest.mark.usefixtures("configured")
def test_viewer_has_nothing_processed(
    operator: Client, make_client: Callable[..., Client], organization: Organization
) -> None:
    """Also who may steer runs, or may process but not view."""
    delivery = create_delivery(organization, "one", status="failed")
    door = f"{LIST}{delivery.pk}/process/"
    for client in (operator, make_client("process_webhookdelivery", is_viewer=False)):
        assert client.post(door).status_code == 403
        assert client.get(door).status_code == 403
        choose(client, delivery)
    for url in (LIST, page_of(delivery)):
        assert "Process again" not in read(operator, url)
    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_too_many_are_not_processed_at_once(
    processor: Client, organization: Organization, configured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.admin.deliveries.MAX_SELECTED", 1)
    chosen = [create_delivery(organization, name, status="failed") for name in ("one", "two")]
    assert "More than 1 deliveries" in tell(choose(processor, *chosen))[0]
    assert not WebhookDelivery.objects.filter(status="received").exists()


def test_delivery_of_an_organization_that_left_the_settings_stays(
    processor: Client, organization: Organization, settings: Any
) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}}
    delivery = create_delivery(organization, "one", status="failed")
    assert "The settings do not allow it" in tell(choose(processor, delivery))[0]
    delivery.refresh_from_db()
    assert delivery.status == "failed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("configured")
def test_silent_broker_is_told_of(processor: Client, organization: Organization) -> None:
    with use_broker("redis://127.0.0.1:1/0", task_publish_retry=False):
        answer = choose(processor, create_delivery(organization, "one", status="failed"))
    assert any("broker does not answer" in text for text in tell(answer))


def test_list_asks_few_questions_however_many_deliveries(processor: Client, organization: Organization) -> None:
    apply_states(organization, *(build_state(number) for number in range(30)), interval=read_at(0))
    deliveries = [create_delivery(organization, number) for number in range(60)]
    for url in (LIST, f"{LIST}?q={make_id(3)}", page_of(deliveries[0])):
        with CaptureQueriesContext(connection) as queries:
            read(processor, url)
        assert len(queries) <= 10, [query["sql"][:150] for query in queries]
    with CaptureQueriesContext(connection) as queries:
        read(processor, LIST)
    assert not [query["sql"] for query in queries if '"payload"' in query["sql"]], "payloads are read for nothing"


def test_payload_is_still_the_same_json(viewer: Client, organization: Organization) -> None:
    delivery = create_delivery(organization, "one", data=build_full_state("one"))
    (shown,) = re.findall(r'<pre class="polar-json"[^>]*>(.*?)</pre>', read(viewer, page_of(delivery)), re.DOTALL)
    text = shown.replace("&quot;", '"').replace("&#x27;", "'")
    assert json.loads(text) == json.loads(delivery.payload)
