"""`polar_sync_webhook`: what it finds, creates, corrects, tries, prints and exits with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import SignatureError
from polar_sync.models import WebhookFeed
from polar_sync.sync.events import EVENTS
from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.testing.webhook_rows import Endpoint
from polar_sync.tokens import Token
from polar_sync.webhooks.registration import TEST_EVENT, send_test_delivery
from polar_sync.webhooks.signatures import verify
from tests.client.scripted import Received, Reply, ScriptedServer

pytestmark = pytest.mark.django_db

SECRET = "whsec_" + "Configured0" * 4
OTHER_SECRET = "whsec_" + "SomeOther1" * 4
UNKNOWN_SECRET = "whsec_" + "Unknown2" * 4
CONFIGURED_ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
PATH = "/polar/webhooks/default/"


@dataclass
class Ended:
    code: int
    output: str

    def __contains__(self, text: str) -> bool:
        return text in self.output


def run(*arguments: str) -> Ended:
    output = StringIO()
    code = 0
    try:
        call_command("polar_sync_webhook", *arguments, stdout=output, stderr=output)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except CommandError as error:
        code = error.returncode
        output.write(str(error))
    return Ended(code, output.getvalue())


@pytest.fixture
def polar(polar_server: FakePolarServer) -> FakePolar:
    return polar_server.polar


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    """Takes what is signed with the configured secrets, and refuses all else."""
    server = ScriptedServer()

    def receive(received: Received) -> Reply:
        organization = polar_settings.get_organization("default")
        try:
            verify(
                received.body,
                received.headers,
                secrets=organization.webhook_secrets,
                tolerance=polar_settings.webhook_tolerance,
            )
        except SignatureError:
            return Reply(status=403)
        return Reply(status=202)

    server.answer(receive)
    yield server
    server.close()


@pytest.fixture
def url(receiver: ScriptedServer) -> str:
    return f"{receiver.url}{PATH}"


def configure(settings: Settings, **keys: object) -> None:
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], **keys}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"default": entry}}


@pytest.fixture
def endpoint(polar: FakePolar, settings: Settings, url: str) -> Endpoint:
    """One that is as it should be, and configured."""
    configure(settings, WEBHOOK_SECRETS=[OTHER_SECRET, SECRET])
    return polar.webhooks.add_endpoint(url, events=EVENTS, secret=SECRET)


@contextmanager
def unchanged(polar: FakePolar) -> Iterator[None]:
    """Within, nothing but reading is asked of Polar."""
    before = [replace(each) for each in polar.webhooks.endpoints]
    polar.requests.clear()
    yield
    assert {request.method for request in polar.requests} == {"GET"}
    assert [each.build() for each in polar.webhooks.endpoints] == [each.build() for each in before]


def test_events_are_those_of_polars_contract(shared_folder: Path) -> None:
    contract = json.loads((shared_folder / "polar-openapi.json").read_bytes())
    known = contract["components"]["schemas"]["WebhookEventType"]["enum"]
    assert set(EVENTS) <= set(known)
    assert len(EVENTS) == len(set(EVENTS))
    families = ("customer.", "subscription.", "benefit_grant.", "customer_seat.", "member.", "meter")
    assert {each for each in known if each.startswith(families)} <= set(EVENTS)


def test_endpoint_that_is_missing_is_created_and_its_secret_printed_once(
    polar: FakePolar, receiver: ScriptedServer, url: str
) -> None:
    ended = run("--url", url)
    [made] = polar.webhooks.endpoints
    assert (made.url, made.events, made.format, made.enabled) == (url, EVENTS, "raw", True)
    assert ended.code == 0
    assert ended.output.count(made.secret) == 1
    assert f"default: created endpoint {made.id} with {len(EVENTS)} events." in ended
    assert 'POLAR_SYNC["ORGANIZATIONS"]["default"]["WEBHOOK_SECRETS"]' in ended
    assert str(WebhookFeed.objects.get().endpoint_id) in ended
    assert "run this command again: it sends a test delivery" in ended
    assert receiver.received == []


def test_created_endpoint_is_well_once_its_secret_is_configured(
    polar: FakePolar, settings: Settings, receiver: ScriptedServer, url: str
) -> None:
    run("--url", url)
    [made] = polar.webhooks.endpoints
    configure(settings, WEBHOOK_SECRETS=made.secret, WEBHOOK_ENDPOINT_ID=made.id)
    ended = run("--url", url)
    assert ended.code == 0
    assert made.secret not in ended
    assert "wrong" not in ended
    assert "test delivery: status 202 after" in ended
    assert polar.webhooks.endpoints == [made]
    assert len(receiver.received) == 1


@pytest.mark.parametrize("arguments", [[], ["--check"]])
@pytest.mark.usefixtures("endpoint")
def test_endpoint_that_is_well_is_left_alone_and_tried(
    polar: FakePolar, receiver: ScriptedServer, url: str, arguments: list[str]
) -> None:
    with unchanged(polar):
        ended = run("--url", url, *arguments)
    assert ended.code == 0
    assert "wrong" not in ended
    [received] = receiver.received
    assert (received.method, received.target) == ("POST", PATH)
    body = json.loads(received.body)
    assert (body["type"], body["data"]) == (TEST_EVENT, {})
    assert received.headers["Content-Type"] == "application/json"


def test_test_delivery_is_signed_with_the_secret_that_polar_uses(
    endpoint: Endpoint, receiver: ScriptedServer, url: str
) -> None:
    run("--url", url)
    [received] = receiver.received
    tolerance = polar_settings.webhook_tolerance
    verify(received.body, received.headers, secrets=[Token(endpoint.secret)], tolerance=tolerance)
    with pytest.raises(SignatureError):
        verify(received.body, received.headers, secrets=[Token(OTHER_SECRET)], tolerance=tolerance)


@pytest.mark.parametrize("arguments", [[], ["--check"]])
@pytest.mark.usefixtures("endpoint")
def test_no_test_delivery_is_sent_where_none_is_wanted(
    receiver: ScriptedServer, url: str, arguments: list[str]
) -> None:
    ended = run("--url", url, "--no-test", *arguments)
    assert ended.code == 0
    assert "test delivery" not in ended
    assert receiver.received == []


def leave_out_events(endpoint: Endpoint) -> None:
    endpoint.events = (*EVENTS[1:], "checkout.created")


def disable(endpoint: Endpoint) -> None:
    endpoint.enabled = False


def send_to_slack(endpoint: Endpoint) -> None:
    endpoint.format = "slack"


Break = Callable[[Endpoint], None]
CORRECTABLE: list[tuple[Break, str]] = [
    (leave_out_events, "events missing: customer.created"),
    (disable, "disabled, and Polar makes no events meanwhile"),
    (send_to_slack, 'format "slack" instead of "raw"'),
]


@pytest.mark.parametrize(("break_", "text"), CORRECTABLE)
def test_what_is_wrong_with_an_endpoint_is_corrected_and_told(
    endpoint: Endpoint, url: str, break_: Break, text: str
) -> None:
    break_(endpoint)
    ended = run("--url", url)
    assert ended.code == 0
    assert f"default: corrected: {text}" in ended
    assert (endpoint.format, endpoint.enabled) == ("raw", True)
    assert set(endpoint.events) >= set(EVENTS)


@pytest.mark.parametrize(("break_", "text"), CORRECTABLE)
def test_check_tells_what_is_wrong_and_corrects_nothing(
    polar: FakePolar, endpoint: Endpoint, receiver: ScriptedServer, url: str, break_: Break, text: str
) -> None:
    break_(endpoint)
    with unchanged(polar):
        ended = run("--url", url, "--check")
    assert ended.code == 1
    assert f"default: wrong: {text}" in ended
    assert len(receiver.received) == 1


def test_everything_that_is_wrong_is_corrected_in_one_request(polar: FakePolar, endpoint: Endpoint, url: str) -> None:
    for break_, _ in CORRECTABLE:
        break_(endpoint)
    polar.requests.clear()
    ended = run("--url", url)
    assert ended.code == 0
    assert [each.method for each in polar.requests] == ["GET", "PATCH"]
    assert ended.output.count("corrected:") == 3


def test_events_that_somebody_chose_besides_are_kept_and_named(endpoint: Endpoint, url: str) -> None:
    leave_out_events(endpoint)
    ended = run("--url", url)
    assert set(endpoint.events) == {*EVENTS, "checkout.created"}
    assert "default: not needed by polar_sync: checkout.created." in ended


def test_correction_that_polar_does_not_make_stays_wrong(
    polar: FakePolar, endpoint: Endpoint, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable(endpoint)
    monkeypatch.setattr(polar.webhooks, "update_endpoint", lambda *_, **__: None)
    ended = run("--url", url)
    assert ended.code == 1
    assert "default: wrong: disabled" in ended
    assert "corrected" not in ended


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_secret_that_is_not_configured_is_told_and_never_shown(
    polar: FakePolar, settings: Settings, endpoint: Endpoint, url: str, arguments: list[str]
) -> None:
    configure(settings, WEBHOOK_SECRETS=OTHER_SECRET)
    with unchanged(polar):
        ended = run("--url", url, *arguments)
    assert ended.code == 1
    assert "default: wrong: signed with none of WEBHOOK_SECRETS" in ended
    assert "test delivery: status 202" in ended
    assert SECRET not in ended
    assert OTHER_SECRET not in ended


def test_without_a_configured_secret_nothing_can_be_tried(
    settings: Settings, endpoint: Endpoint, receiver: ScriptedServer, url: str
) -> None:
    configure(settings, WEBHOOK_SECRETS=[])
    ended = run("--url", url)
    assert ended.code == 1
    assert "default: wrong: no WEBHOOK_SECRETS" in ended
    assert "no test delivery was sent" in ended
    assert receiver.received == []
    assert SECRET not in ended


def test_id_of_another_endpoint_in_the_settings_is_told(settings: Settings, endpoint: Endpoint, url: str) -> None:
    configured = uuid4()
    configure(settings, WEBHOOK_ENDPOINT_ID=str(configured))
    ended = run("--url", url)
    assert ended.code == 1
    assert f"WEBHOOK_ENDPOINT_ID is {configured}, and the endpoint with this URL is {endpoint.id}" in ended


def test_check_of_an_endpoint_that_does_not_exist_creates_none(
    polar: FakePolar, settings: Settings, receiver: ScriptedServer, url: str
) -> None:
    configure(settings, WEBHOOK_SECRETS=SECRET)
    polar.webhooks.add_endpoint(f"{url}other/", secret=SECRET)
    with unchanged(polar):
        ended = run("--url", url, "--check")
    assert ended.code == 1
    assert "default: wrong: no endpoint with this URL on Polar." in ended
    assert len(receiver.received) == 1


def test_several_endpoints_with_one_url_are_told(polar: FakePolar, settings: Settings, endpoint: Endpoint) -> None:
    url = endpoint.url
    other = polar.webhooks.add_endpoint(url, events=EVENTS, secret=OTHER_SECRET, enabled=False)
    configure(settings, WEBHOOK_ENDPOINT_ID=endpoint.id)
    ended = run("--url", url)
    assert ended.code == 1
    assert "2 endpoints with this URL" in ended
    assert endpoint.id in ended
    assert other.id in ended
    assert not other.enabled


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param(
            {"id": CONFIGURED_ID, "enabled": False, "secret": UNKNOWN_SECRET}, {"secret": SECRET}, id="configured"
        ),
        pytest.param({"secret": UNKNOWN_SECRET}, {"enabled": False, "secret": SECRET}, id="enabled"),
        pytest.param({"secret": SECRET}, {"secret": UNKNOWN_SECRET}, id="with a known secret"),
    ],
)
def test_of_several_endpoints_the_configured_or_else_a_working_one_is_looked_at(
    polar: FakePolar, settings: Settings, url: str, right: dict[str, Any], wrong: dict[str, Any], is_first: bool
) -> None:
    configure(settings, WEBHOOK_ENDPOINT_ID=CONFIGURED_ID, WEBHOOK_SECRETS=SECRET)
    made = [polar.webhooks.add_endpoint(url, **fields) for fields in ([right, wrong] if is_first else [wrong, right])]
    ended = run("--url", url, "--check")
    assert f"default: endpoint {made[not is_first].id}, " in ended


def test_endpoint_is_found_on_any_page_and_however_its_host_is_written(
    polar: FakePolar, settings: Settings, receiver: ScriptedServer
) -> None:
    configure(settings, WEBHOOK_SECRETS=SECRET)
    port = receiver.url.rpartition(":")[2]
    oldest = polar.webhooks.add_endpoint(f"http://LocalHost:{port}{PATH}", events=EVENTS, secret=SECRET)
    for number in range(100):
        polar.webhooks.add_endpoint(f"https://shop.test/{number}", format="discord")
    ended = run("--url", f"http://localhost:{port}{PATH}", "--no-test")
    assert ended.code == 0
    assert oldest.id in ended


def test_endpoint_at_another_scheme_or_path_is_not_taken_for_it(polar: FakePolar) -> None:
    for other in ("http://shop.test/polar/", "https://shop.test/polar", "https://shop.test:8443/polar/"):
        polar.webhooks.add_endpoint(other)
    assert "created endpoint" in run("--url", "https://shop.test/polar/", "--no-test")
    assert "created endpoint" not in run("--url", "https://SHOP.test:443/polar/", "--no-test")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (302, "redirected, which Polar does not follow"),
        (401, "its WEBHOOK_SECRETS are others"),
        (403, "its WEBHOOK_SECRETS are others"),
        (404, "nothing receives at this URL"),
        (500, "Polar takes this for a failure"),
    ],
)
@pytest.mark.usefixtures("endpoint")
def test_receiver_that_does_not_take_the_test_delivery_fails(
    receiver: ScriptedServer, url: str, status: int, text: str
) -> None:
    receiver.answer(Reply(status=status, headers={"Location": f"{receiver.url}/elsewhere/"}))
    ended = run("--url", url)
    assert ended.code == 1
    assert f"test delivery: status {status} after" in ended
    assert text in ended
    assert len(receiver.received) == 1


@pytest.mark.usefixtures("endpoint")
def test_receiver_that_cuts_the_connection_fails(receiver: ScriptedServer, url: str) -> None:
    receiver.answer(Reply(is_cut=True))
    ended = run("--url", url)
    assert ended.code == 1
    assert "test delivery: no answer after" in ended
    assert "the connection failed or was cut" in ended


def test_receiver_that_does_not_answer_in_time_fails(
    receiver: ScriptedServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.webhooks.registration.TIMEOUT", 0.1)
    receiver.answer(Reply(delay=0.4))
    result = send_test_delivery(url, secret=Token(SECRET))
    assert (result.status, result.problem) == (None, "no answer within 0.1 s")


def test_receiver_at_an_address_that_cannot_be_one_fails() -> None:
    result = send_test_delivery("http://a..b/", secret=Token(SECRET))
    assert (result.status, result.problem) == (None, "this address cannot be used")


@pytest.mark.parametrize(
    "address",
    ["", "example.com/polar/", "ftp://example.com/", "https://", "https://user:pw@example.com/", "https://a.test/#x",
     "https://a.test:x/", "https://a b.test/", "https://ä.test/", "https://a.test/" + "x" * 2048],
)  # fmt: skip
def test_address_that_polar_cannot_send_to_is_a_configuration_error(polar: FakePolar, address: str) -> None:
    ended = run("--url", address)
    assert ended.code == 2
    assert "--url takes the whole address" in ended
    assert "pw" not in ended
    assert polar.requests == []


def test_unknown_organization_is_a_configuration_error(polar: FakePolar, url: str) -> None:
    ended = run("--url", url, "--organization", "shop")
    assert ended.code == 2
    assert 'no organization "shop"' in ended


def test_one_of_several_organizations_has_to_be_named(polar: FakePolar, settings: Settings, url: str) -> None:
    other = polar.add_organization(seed=7)
    entries = settings.POLAR_SYNC["ORGANIZATIONS"]
    entries = {**entries, "other": {**entries["default"], "ACCESS_TOKEN": other.access_token}}
    settings.POLAR_SYNC = {"ORGANIZATIONS": entries}
    ended = run("--url", url)
    assert ended.code == 2
    assert "Say with --organization" in ended
    assert run("--url", url, "--organization", "other").code == 0
    assert [len(each.webhooks.endpoints) for each in (polar, other)] == [0, 1]


def test_token_without_the_scope_names_it(polar: FakePolar, settings: Settings, url: str) -> None:
    configure(settings, ACCESS_TOKEN=polar.create_token(scopes=["webhooks:read"]))
    assert run("--url", url, "--check", "--no-test").code == 1
    ended = run("--url", url)
    assert ended.code == 1
    assert "webhooks:write" in ended


def test_organization_id_is_sent_only_to_whom_it_says_something(polar: FakePolar, settings: Settings, url: str) -> None:
    configure(settings, ORGANIZATION_ID=polar.organization_id)
    assert run("--url", url).code == 0
    [made] = polar.webhooks.endpoints
    assert made.organization_id == polar.organization_id


def test_endpoint_of_another_organization_than_the_settings_name_is_deleted_again(
    polar: FakePolar, settings: Settings, url: str
) -> None:
    expected = uuid4()
    configure(settings, ORGANIZATION_ID=str(expected))
    ended = run("--url", url)
    assert ended.code == 1
    assert f"of the Polar organization {polar.organization_id}, not of {expected}" in ended
    assert polar.webhooks.endpoints == []


def test_answer_that_is_no_endpoint_is_an_error_that_shows_no_secret(
    polar: FakePolar, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable:
        def build(self) -> dict[str, Any]:
            return {"url": url, "secret": SECRET}

    monkeypatch.setattr(polar.webhooks, "add_endpoint", lambda *_, **__: Unreadable())
    ended = run("--url", url)
    assert ended.code == 1
    assert "no id or no URL" in ended
    assert SECRET not in ended
