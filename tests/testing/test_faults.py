from __future__ import annotations

from typing import Any

import pytest

from polar_sync.testing import ConnectionCutError, FakePolar, Fault
from tests.testing.asking import ask, list_ids


def test_storm_of_429_ends_after_its_times(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="rate_limit", operation="customers:list", times=2, retry_after=7))
    replies = [ask(polar, "/v1/customers/") for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert (replies[0].headers["retry-after"], replies[0].body) == ("7", b"")
    assert "content-type" not in replies[0].headers
    assert polar.rate_limited == 0
    assert polar.counts["customers:list"] == 3


def test_retry_after_may_be_a_date_or_left_to_the_default(polar: FakePolar) -> None:
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    polar.faults.add(Fault(kind="rate_limit", retry_after=date))
    polar.faults.add(Fault(kind="rate_limit"))
    assert [ask(polar, "/v1/customers/").headers["retry-after"] for _ in range(2)] == [date, "60"]


def test_server_error_is_an_html_page(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="server_error", status=503, retry_after=2))
    reply = ask(polar, "/v1/customers/")
    assert (reply.status, reply.headers["content-type"], reply.headers["retry-after"]) == (503, "text/html", "2")
    assert reply.body.startswith(b"<html>")


def test_cut_connection_does_not_carry_the_request_out(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="cut", operation="customers:create"))
    with pytest.raises(ConnectionCutError):
        ask(polar, "/v1/customers/", method="POST", body={"email": "a@example.com"})
    assert polar.customers == []
    assert polar.requests == [("POST", "/v1/customers/", 0)]
    assert polar.counts == {"customers:create": 1}


def test_truncated_answer_comes_after_the_request_was_carried_out(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="truncate", operation="customers:create"))
    reply = ask(polar, "/v1/customers/", method="POST", body={"email": "a@example.com"})
    assert 0 < len(reply.body) < int(reply.headers["content-length"])
    assert len(polar.customers) == 1


def test_fault_for_one_customer_leaves_the_others_alone(polar: FakePolar) -> None:
    hit = polar.create_customer(external_id="hit")["id"]
    free = polar.create_customer(external_id="free")["id"]
    polar.faults.add(Fault(kind="bare_404", customer=hit, times=None))
    assert ask(polar, f"/v1/customers/{hit}/state").json == {"detail": "Not Found"}
    assert ask(polar, "/v1/customers/external/hit").json == {"detail": "Not Found"}
    assert ask(polar, f"/v1/customers/{free}/state").status == 200
    assert ask(polar, "/v1/customers/").status == 200


def test_unauthorized_looks_like_a_revoked_token(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="unauthorized"))
    assert ask(polar, "/v1/customers/").json["error"] == "invalid_token"
    assert ask(polar, "/v1/customers/").status == 200


def test_missing_denies_what_exists(polar: FakePolar) -> None:
    customer = polar.create_customer()["id"]
    polar.faults.add(Fault(kind="missing", operation="customers:get_state"))
    reply = ask(polar, f"/v1/customers/{customer}/state")
    assert (reply.status, reply.json) == (404, {"error": "ResourceNotFound", "detail": "Not found"})
    assert ask(polar, f"/v1/customers/{customer}/state").status == 200


def test_refused_answers_with_a_status_and_a_body(polar: FakePolar) -> None:
    polar.faults.add(Fault(kind="refused", status=451, body={"detail": "not\x00here\ud800"}))
    reply = ask(polar, "/v1/customers/")
    assert (reply.status, reply.body) == (451, b'{"detail":"not\\u0000here\\ud800"}')


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"items": [', b'{"items": ['), ({"items": 5}, b'{"items":5}'), (None, b"null")],
)
def test_malformed_answer_is_what_was_given(polar: FakePolar, body: Any, expected: bytes) -> None:
    polar.faults.add(Fault(kind="malformed", body=body))
    reply = ask(polar, "/v1/customers/")
    assert (reply.status, reply.body) == (200, expected)


def test_latency_waits_without_holding_up_the_others() -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert ask(polar, "/v1/customers/").status == 200

    polar = FakePolar(seed=1, sleep=sleep)
    polar.faults.add(Fault(kind="latency", seconds=3.5))
    assert ask(polar, "/v1/customers/").status == 200
    assert slept == [3.5]
    assert len(polar.requests) == 2


def test_customer_deleted_between_two_pages(polar: FakePolar) -> None:
    polar.generate_customers(20)
    everybody = polar.customers
    polar.before("customers:list", lambda: polar.delete_customer(everybody[0]), after=1)
    first = list_ids(polar, "sorting=created_at")
    assert everybody[0] in polar.customers
    second = list_ids(polar, "sorting=created_at&page=2")
    assert everybody[0] not in polar.customers
    assert set(everybody) - set(first) - set(second) == {everybody[10]}


def test_hook_runs_every_time_it_was_asked_to(polar: FakePolar) -> None:
    ran: list[int] = []
    hook = polar.before(None, lambda: ran.append(1), times=None, after=1)
    for _ in range(4):
        ask(polar, "/v1/customers/")
    assert len(ran) == 3 == hook.hits
    polar.faults.remove(hook)
    ask(polar, "/v1/customers/")
    assert len(ran) == 3


def test_one_request_meets_one_ending_fault_and_all_passing_ones_before_it(polar: FakePolar) -> None:
    ran: list[str] = []
    polar.before("customers:list", lambda: ran.append("hook"))
    polar.faults.add(Fault(kind="server_error"))
    polar.faults.add(Fault(kind="rate_limit"))
    polar.before("customers:list", lambda: ran.append("late hook"))
    assert [ask(polar, "/v1/customers/").status for _ in range(3)] == [502, 429, 200]
    assert ran == ["hook", "late hook"]
    assert len(polar.faults) == 0


def test_chance_hits_some_and_the_same_in_every_run() -> None:
    runs = []
    for _ in range(2):
        polar = FakePolar(seed=1)
        polar.faults.add(Fault(kind="server_error", times=None, chance=0.5))
        runs.append([ask(polar, "/v1/customers/").status for _ in range(40)])
        polar.faults.clear()
        assert ask(polar, "/v1/customers/").status == 200
    assert runs[0] == runs[1]
    assert 5 < runs[0].count(502) < 35


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "explosion"},
        {"kind": "cut", "operation": "customers:explode"},
        {"kind": "call"},
        {"kind": "cut", "call": print},
    ],
)
def test_fault_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there are|needs call"):
        Fault(**arguments)
