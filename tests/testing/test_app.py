from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polar_sync.testing import FakePolar
from tests.testing.asking import ask, list_ids

START = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/customers?limit=3", "/v1/customers/?limit=3"),
        ("/v1/customers/export/", "/v1/customers/export"),
        ("/v1/customers/7d444840-9dc0-4111-8111-000000000000/", "/v1/customers/7d444840-9dc0-4111-8111-000000000000"),
        ("/v1/customers/external/a%20b/", "/v1/customers/external/a%20b"),
        ("/v1/customer-sessions", "/v1/customer-sessions/"),
        ("/v1/benefit-grants?is_granted=true", "/v1/benefit-grants/?is_granted=true"),
    ],
)
def test_slash_too_many_or_too_few_is_redirected(polar: FakePolar, path: str, target: str) -> None:
    reply = ask(polar, path, token=None, headers={"Host": "polar.test:81"})
    assert (reply.status, reply.headers["location"]) == (307, f"http://polar.test:81{target}")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/customers/", "/v1/customers/a/b/c", "/v1/customers//", "/v1/orders/"]
)
def test_unknown_route_is_a_bare_404(polar: FakePolar, path: str) -> None:
    reply = ask(polar, path)
    assert (reply.status, reply.json) == (404, {"detail": "Not Found"})
    assert reply.headers["polar-version"] == "2026-04"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/customers/", "GET"),
        ("GET", "/v1/customer-sessions/", "POST"),
        ("HEAD", "/v1/customers/", "GET"),
        ("DELETE", "/v1/customer-portal/customers/me", "GET"),
    ],
)
def test_wrong_method_names_the_right_one(polar: FakePolar, method: str, path: str, allowed: str) -> None:
    reply = ask(polar, path, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("asked", "answered"), [("2026-04", "2026-04"), ("2026-10", "2026-10"), ("", "2026-04"), (None, "2026-04")]
)
def test_known_version_is_served_and_absent_is_the_present_one(
    polar: FakePolar, asked: str | None, answered: str
) -> None:
    reply = ask(polar, "/v1/customers/", headers={} if asked is None else {"Polar-Version": asked})
    assert (reply.status, reply.headers["polar-version"]) == (200, answered)


def test_unknown_version_is_a_bare_404_of_none(polar: FakePolar) -> None:
    reply = ask(polar, "/v1/customers/", headers={"Polar-Version": "2027-01"})
    assert (reply.status, reply.json) == (404, {"detail": "Not Found"})
    assert "polar-version" not in reply.headers


def test_token_revoked_in_between_is_refused_from_then_on(polar: FakePolar) -> None:
    token = polar.create_token(["customers:read"])
    assert ask(polar, "/v1/customers/", token=token).status == 200
    polar.revoke_token(token)
    assert ask(polar, "/v1/customers/", token=token).json["error"] == "invalid_token"
    assert ask(polar, "/v1/customers/").status == 200
    with pytest.raises(KeyError):
        polar.revoke_token("never made")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "polar_oat_x"])
def test_header_without_a_bearer_token_is_no_token(polar: FakePolar, authorization: str) -> None:
    reply = ask(polar, "/v1/customers/", token=None, headers={"Authorization": authorization})
    assert reply.json == {"error": "Unauthorized", "detail": "Unauthorized"}


def test_scope_to_write_is_enough_to_read_and_not_the_other_way(polar: FakePolar) -> None:
    writer, reader = polar.create_token(["customers:write"]), polar.create_token(["customers:read"])
    assert ask(polar, "/v1/customers/", token=writer).status == 200
    reply = ask(polar, "/v1/customer-sessions/", method="POST", token=reader, body={"customer_id": "x"})
    assert reply.status == 403
    assert 'scope="customer_sessions:write"' in reply.headers["www-authenticate"]


def test_two_organizations_on_one_server_see_only_their_own() -> None:
    first = FakePolar.generate(seed=1, customers=5)
    second = first.add_organization(seed=2, customers=3)
    assert ask(first, "/v1/customers/", token=second.access_token).json["pagination"]["total_count"] == 3
    assert ask(second, "/v1/customers/", token=first.access_token).json["pagination"]["total_count"] == 5
    foreign = ask(first, f"/v1/customers/{first.customers[0]}", token=second.access_token)
    assert foreign.json == {"error": "ResourceNotFound", "detail": "Not found"}
    assert (first.counts, second.counts) == ({"customers:list": 1}, {"customers:list": 1, "customers:get": 1})
    assert first.organization_id != second.organization_id


def test_date_header_is_the_clock_and_its_offset() -> None:
    polar = FakePolar(seed=1, clock=Clock())
    assert parsedate_to_datetime(ask(polar, "/v1/customers/").headers["date"]) == START
    polar.clock_offset = timedelta(hours=-3)
    assert parsedate_to_datetime(ask(polar, "/nowhere").headers["date"]) == START - timedelta(hours=3)
    assert polar.create_customer()["created_at"] == "2026-06-01T09:00:00Z"


def test_date_offset_moves_the_header_and_nothing_else() -> None:
    polar = FakePolar(seed=1, clock=Clock())
    polar.date_offset = timedelta(minutes=7)
    other = polar.add_organization(seed=2)
    assert parsedate_to_datetime(ask(polar, "/nowhere").headers["date"]) == START + timedelta(minutes=7)
    assert parsedate_to_datetime(ask(other, "/v1/customers/").headers["date"]) == START + timedelta(minutes=7)
    assert polar.create_customer()["created_at"] == "2026-06-01T12:00:00Z"
    polar.clock_offset = timedelta(hours=1)
    assert parsedate_to_datetime(ask(polar, "/v1/customers/").headers["date"]) == START + timedelta(minutes=67)
    assert polar.create_customer()["created_at"] == "2026-06-01T13:00:00Z"


def test_rate_limit_is_a_moving_minute_and_refused_requests_do_not_count() -> None:
    clock = Clock()
    polar = FakePolar(seed=1, clock=clock, rate_limit=3)
    for _ in range(3):
        assert ask(polar, "/v1/customers/").status == 200
        clock.wait(10)
    reply = ask(polar, "/v1/customers/")
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, b"", "30")
    clock.wait(29)
    assert ask(polar, "/v1/customers/").headers["retry-after"] == "1"
    clock.wait(1)
    assert ask(polar, "/v1/customers/").status == 200
    assert ask(polar, "/v1/customers/").status == 429
    assert polar.rate_limited == 3
    polar.rate_limit = None
    assert ask(polar, "/v1/customers/").status == 200


def test_setting_the_clock_off_does_not_move_the_rate_limit() -> None:
    polar = FakePolar(seed=1, clock=Clock(), rate_limit=1)
    assert ask(polar, "/v1/customers/").status == 200
    polar.clock_offset = timedelta(hours=1)
    assert ask(polar, "/v1/customers/").headers["retry-after"] == "60"


def test_rate_limit_is_each_organizations_own() -> None:
    first = FakePolar(seed=1, rate_limit=1)
    second = first.add_organization(seed=2)
    assert [ask(first, "/v1/customers/").status for _ in range(2)] == [200, 429]
    assert [ask(first, "/v1/customers/", token=second.access_token).status for _ in range(2)] == [200, 200]


def test_counts_and_requests_say_what_was_asked() -> None:
    clock = Clock()
    polar = FakePolar(seed=1, clock=clock)
    own = polar.create_customer(external_id="usr_1")["id"]
    ask(polar, "/v1/customers/?page=2")
    ask(polar, "/v1/customers/external/usr_1/state")
    clock.wait(5)
    ask(polar, "/v1/customers/nonsense")
    ask(polar, "/nowhere")
    assert polar.counts == {"customers:list": 1, "customers:get_state_external": 1, "customers:get": 1}
    assert polar.requests == [
        ("GET", "/v1/customers/", 200),
        ("GET", "/v1/customers/external/usr_1/state", 200),
        ("GET", "/v1/customers/nonsense", 422),
        ("GET", "/nowhere", 404),
    ]
    assert polar.requests[0].query == "page=2"
    assert polar.requests[2].at - polar.requests[0].at == timedelta(seconds=5)
    polar.reset_counts()
    assert (polar.counts, polar.requests) == ({}, [])
    assert polar.customers == [own]


@settings(max_examples=150)
@given(item=ANY_JSON)
def test_any_json_is_listed_as_it_was_put(item: Any) -> None:
    polar = FakePolar(seed=1)
    polar.create_customer()
    key = polar.put_raw_item(item)
    body = ask(polar, "/v1/customers/").body
    assert body.isascii()
    assert item in json.loads(body)["items"]
    polar.delete_customer(key)
    assert len(json.loads(ask(polar, "/v1/customers/").body)["items"]) == 1


@settings(max_examples=100)
@given(state=ANY_JSON)
def test_any_json_is_answered_as_the_state_it_was_put_for(state: Any) -> None:
    polar = FakePolar(seed=1)
    own = polar.create_customer(name="Kept")["id"]
    polar.replace_state(own, state)
    assert ask(polar, f"/v1/customers/{own}/state").json == state == polar.get_state(own)
    assert ask(polar, f"/v1/customers/{own}").json["name"] == "Kept"


def test_hostile_values_survive() -> None:
    polar = FakePolar.generate(seed=1, customers=1)
    state = polar.get_state(polar.customers[0])
    state |= {"name": "\ud800\x00" + "n" * 10_000, "metadata": {"big": 2**80, "huge": 1e308, "minus": -0.0}, "new": []}
    polar.put_state(state)
    body = ask(polar, f"/v1/customers/{state['id']}/state").body
    assert json.loads(body) == state
    assert b'"huge":1e+308,"minus":-0.0' in body
    assert ask(polar, "/v1/customers/").json["items"][0]["new"] == []


def test_put_state_adds_and_replaces_by_id(polar: FakePolar) -> None:
    state = FakePolar.generate(seed=5, customers=1).get_state(FakePolar.generate(seed=5, customers=1).customers[0])
    assert polar.put_state(state) == state["id"]
    assert list_ids(polar) == [state["id"]]
    polar.put_state({**state, "name": "Second"})
    assert [item["name"] for item in ask(polar, "/v1/customers/").json["items"]] == ["Second"]
    with pytest.raises(TypeError, match="put_raw_item"):
        polar.put_state({"id": 7})


def test_state_given_back_is_a_copy(polar: FakePolar) -> None:
    own = polar.create_customer(metadata={"a": 1})["id"]
    polar.get_state(own)["metadata"]["a"] = 2
    polar.get_customer(own)["metadata"]["a"] = 3
    assert ask(polar, f"/v1/customers/{own}").json["metadata"] == {"a": 1}


def test_prepared_bodies_follow_every_change(polar: FakePolar) -> None:
    own = polar.create_customer(name="One")["id"]
    seen = []
    for name in ("Two", "Three"):
        seen.append(ask(polar, f"/v1/customers/{own}/state").json["name"])
        polar.update_customer(own, name=name)
        seen.append(ask(polar, "/v1/customers/").json["items"][0]["name"])
        seen.append(ask(polar, f"/v1/customers/{own}/state").json["name"])
    assert seen == ["One", "Two", "Two", "Two", "Three", "Three"]


def test_unknown_customer_is_a_key_error_that_names_it(polar: FakePolar) -> None:
    for call in (polar.get_state, polar.get_customer, polar.delete_customer, polar.update_customer):
        with pytest.raises(KeyError, match="nobody"):
            call("nobody")


def test_token_is_not_in_the_repr(polar: FakePolar) -> None:
    token = polar.shared.tokens.find(f"Bearer {polar.access_token}")
    assert polar.access_token not in repr(polar) + repr(token) + repr(polar.shared)


def test_many_threads_at_once_lose_nothing(polar: FakePolar) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(20):
                body = {"email": f"u{number}-{step}@example.com", "external_id": f"{number}-{step}"}
                own = ask(polar, "/v1/customers/", method="POST", body=body).json["id"]
                assert ask(polar, f"/v1/customers/{own}/state").status == 200
                assert ask(polar, "/v1/customers/?limit=100&active=false").status == 200
                if step % 2:
                    assert ask(polar, f"/v1/customers/external/{number}-{step}", method="DELETE").status == 204
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(polar.customers) == 80
    assert polar.counts["customers:create"] == polar.counts["customers:get_state"] == 160
    assert len(polar.requests) == sum(polar.counts.values())


def test_wsgi_application_answers_as_the_handler_does(polar: FakePolar) -> None:
    own = polar.create_customer(external_id="a b/é")["id"]
    sent = json.dumps({"name": "Ä"}).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "PATCH",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/v1/customers/{own}",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(sent)),
        "CONTENT_TYPE": "application/json",
        "HTTP_AUTHORIZATION": f"Bearer {polar.access_token}",
        "wsgi.input": io.BytesIO(sent),
    }
    setup_testing_defaults(environ)
    started: list[Any] = []
    application = validator(polar)
    iterator = application(environ, lambda status, headers, _=None: started.append((status, headers)))  # type: ignore[arg-type]
    content = b"".join(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert started[0][0] == "200 OK"
    assert json.loads(content)["name"] == "Ä"
    assert polar.get_customer(own)["name"] == "Ä"
