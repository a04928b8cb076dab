from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient, RequestBudget, retries
from polar_sync.client.responses import PolarRequest
from polar_sync.exceptions import (
    BudgetWaitError,
    NetworkError,
    PolarError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    UnreadableAnswerError,
)
from tests.client.conftest import MakeClient
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
OK = Reply(body={"id": ID})
CUT = Reply(is_cut=True)
BROKEN_OFF = Reply(body=b'{"id":', length=100)
BROKEN_OFF_CHUNK = Reply(body=b'{"id":', is_chunked=True, length=100)
LIMITED = Reply(status=429, headers={"Retry-After": "0.02"})

Ask = Callable[[PolarClient], Any]

READS: list[Ask] = [
    lambda c: c.customers.get(ID),
    lambda c: c.customers.get_state_external("usr_1"),
]
WRITES: list[Ask] = [
    lambda c: c.customers.create(name="Ada"),
    lambda c: c.customers.update(ID, name="Ada"),
    lambda c: c.customers.delete(ID),
]
PASSING = [CUT, BROKEN_OFF, BROKEN_OFF_CHUNK, Reply(status=502), Reply(status=503, body=b"<html>"), Reply(status=504)]


@pytest.mark.parametrize("ask", READS)
@pytest.mark.parametrize("failure", PASSING)
def test_read_is_tried_again_until_it_succeeds(
    polar: ScriptedServer, make_client: MakeClient, ask: Ask, failure: Reply
) -> None:
    client = make_client(max_attempts=3)
    polar.answer(failure, failure, OK)
    assert ask(client) == {"id": ID}
    assert len(polar.received) == client.usage.requests == 3


@pytest.mark.parametrize("failure", PASSING)
def test_read_gives_up_after_max_attempts(polar: ScriptedServer, make_client: MakeClient, failure: Reply) -> None:
    polar.answer(failure)
    with pytest.raises((NetworkError, ServerError)) as caught:
        make_client(max_attempts=3).customers.get(ID)
    assert len(polar.received) == 3
    assert not caught.value.permanent
    assert caught.value.status == (None if isinstance(caught.value, NetworkError) else failure.status)


def test_read_that_times_out_is_tried_again(polar: ScriptedServer, make_client: MakeClient) -> None:
    polar.answer(Reply(body={}, delay=1), OK)
    assert make_client(read_timeout=0.5).customers.get(ID) == {"id": ID}
    assert len(polar.received) == 2


def test_read_timeout_says_how_long_it_waited(polar: ScriptedServer, make_client: MakeClient) -> None:
    polar.answer(Reply(body={}, delay=0.1))
    with pytest.raises(NetworkError, match=r"no answer within 0\.05 s"):
        make_client(read_timeout=0.05, max_attempts=1).customers.get(ID)


def test_body_that_trickles_in_for_ever_is_given_up(polar: ScriptedServer, make_client: MakeClient) -> None:
    polar.answer(Reply(pieces=[b" "] * 1000, pause=0.01))
    with pytest.raises(NetworkError, match="did not come to an end"):
        make_client(read_timeout=0.3, max_attempts=1).customers.get(ID)


def test_server_that_is_not_there_is_a_network_error_with_the_reason(make_client: MakeClient) -> None:
    client = make_client(server="http://127.0.0.1:9", max_attempts=2)
    with pytest.raises(NetworkError, match=r"http://127\.0\.0\.1:9: .*refused.*try again later") as caught:
        client.customers.get(ID)
    assert client.usage.requests == 2
    assert caught.value.status is None
    assert caught.value.interval is None


@pytest.mark.parametrize("ask", WRITES)
@pytest.mark.parametrize("failure", [*PASSING, Reply(status=500)])
def test_write_is_never_repeated_blindly(polar: ScriptedServer, client: PolarClient, ask: Ask, failure: Reply) -> None:
    polar.answer(failure, OK)
    with pytest.raises((NetworkError, ServerError)) as caught:
        ask(client)
    assert len(polar.received) == 1
    if isinstance(caught.value, NetworkError):
        assert "may have been done or not" in str(caught.value)


@pytest.mark.parametrize("status", [500, 501, 520])
def test_other_server_error_is_tried_once_more(polar: ScriptedServer, client: PolarClient, status: int) -> None:
    polar.answer(Reply(status=status, body=b"<html>"))
    with pytest.raises(ServerError):
        client.customers.list(page=99999999999999999999)
    assert len(polar.received) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=400), RequestRefusedError),
        (Reply(status=408), RequestRefusedError),
        (Reply(body=b"<html>"), UnreadableAnswerError),
        (Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}), UnreadableAnswerError),
    ],
)
def test_nothing_else_is_tried_again(
    polar: ScriptedServer, client: PolarClient, reply: Reply, kind: type[PolarError]
) -> None:
    polar.answer(reply)
    with pytest.raises(kind):
        client.customers.get(ID)
    assert len(polar.received) == 1


@pytest.mark.parametrize("ask", [*READS, *WRITES])
def test_rate_limit_is_waited_out_more_often_than_max_attempts(
    polar: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.02)
    client = make_client(max_attempts=1)
    polar.answer(*[LIMITED] * 4, OK)
    started = time.monotonic()
    ask(client)
    assert len(polar.received) == client.usage.requests == 5
    assert 0.08 <= client.usage.throttled_seconds <= time.monotonic() - started


def test_rate_limit_that_lasts_beyond_what_it_says_is_asked_less_and_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = retries.Attempts(PolarRequest(method="POST", path="/"), max_attempts=1, max_wait=None)
    error = RateLimitError("", retry_in=0.0, method="POST", path="/")
    pauses = [attempts.get_delay(error, retry_after=None) for _ in range(3000)]
    assert pauses[:8] == [0, 1, 2, 4, 8, 16, 32, 60]
    assert set(pauses[7:]) == {60}


def test_rate_limit_without_retry_after_is_waited_for_a_second(
    polar: ScriptedServer, make_client: MakeClient, organization: str
) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=10, max_wait=0.5)
    polar.answer(Reply(status=429))
    with pytest.raises(RateLimitError) as caught:
        make_client(budget=budget).customers.get(ID)
    assert caught.value.retry_in == 1.0


@pytest.mark.parametrize("seconds", [60, 3600])
@pytest.mark.parametrize("ask", [*READS, *WRITES])
def test_rate_limit_longer_than_the_caller_waits_is_raised_at_once_and_pauses_everybody(
    polar: ScriptedServer, make_client: MakeClient, organization: str, ask: Ask, seconds: int
) -> None:
    polar.answer(Reply(status=429, headers={"Retry-After": str(seconds)}))

    def make_budget() -> RequestBudget:
        return RequestBudget(organization=organization, requests_per_minute=10, max_wait=1)

    with pytest.raises(RateLimitError, match=f"{seconds} s") as caught:
        ask(make_client(budget=make_budget()))
    assert caught.value.retry_in == pytest.approx(seconds, abs=5)
    with pytest.raises(BudgetWaitError) as refused:
        make_client(budget=make_budget()).customers.get(ID)
    assert refused.value.retry_in == pytest.approx(seconds, abs=5)
    assert len(polar.received) == 1


def test_rate_limit_is_not_waited_for_in_small_pieces_beyond_max_wait(
    polar: ScriptedServer, make_client: MakeClient, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.02)
    polar.answer(LIMITED)
    budget = RequestBudget(organization=organization, requests_per_minute=1000, max_wait=0.07)
    with pytest.raises(RateLimitError):
        make_client(budget=budget).customers.get(ID)
    assert len(polar.received) == 4


def test_another_callers_pause_turns_a_rate_limit_into_its_own_error(
    polar: ScriptedServer, make_client: MakeClient, organization: str
) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=1000, max_wait=0.1)

    def fail(_: object) -> Reply:
        budget.pause(30)
        return LIMITED

    polar.answer(fail)
    with pytest.raises(RateLimitError) as caught:
        make_client(budget=budget).customers.get(ID)
    assert caught.value.retry_in == pytest.approx(30, abs=5)
    assert caught.value.path == f"/v1/customers/{ID}"


def test_retry_after_of_an_overloaded_server_is_honoured(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(status=503, headers={"Retry-After": "0.1"}), OK)
    started = time.monotonic()
    client.customers.get(ID)
    assert time.monotonic() - started >= 0.1


def test_retry_after_longer_than_the_caller_waits_is_not_slept(
    polar: ScriptedServer, make_client: MakeClient, organization: str
) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=10, max_wait=0.5)
    polar.answer(Reply(status=503, headers={"Retry-After": "60"}))
    with pytest.raises(ServerError):
        make_client(budget=budget).customers.get(ID)
    assert len(polar.received) == 1


NOW = datetime(2026, 11, 20, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("60", 60),
        ("0", 0),
        ("-5", 0),
        ("3600", 3600),
        ("86401", 86_400),
        ("1e400", 86_400),
        ("9" * 400, 86_400),
        (format_datetime(NOW + timedelta(seconds=42), usegmt=True), 42),
        (format_datetime(NOW - timedelta(seconds=42), usegmt=True), 0),
        (format_datetime(NOW + timedelta(hours=1), usegmt=True), 3600),
        (format_datetime(NOW + timedelta(days=42), usegmt=True), 86_400),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date_and_capped(text: str | None, seconds: float | None) -> None:
    assert retries.parse_retry_after(text, now=NOW) == seconds


@given(text=st.text())
def test_any_retry_after_is_bounded(text: str) -> None:
    found = retries.parse_retry_after(text, now=NOW)
    assert found is None or 0 <= found <= 86_400


def test_retry_after_as_a_date_counts_from_the_servers_own_clock(
    polar: ScriptedServer, make_client: MakeClient, organization: str
) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=10, max_wait=1)
    polar.answer(
        Reply(
            status=429, date=formatdate(10_000, usegmt=True), headers={"Retry-After": formatdate(10_030, usegmt=True)}
        )
    )
    with pytest.raises(RateLimitError) as caught:
        make_client(budget=budget).customers.get(ID)
    assert caught.value.retry_in == 30


@given(count=st.integers(1, 5000))
def test_delays_double_with_jitter_up_to_a_cap(count: int) -> None:
    longest = min(retries.FIRST_DELAY * 2.0 ** (min(count, 60) - 1), retries.LONGEST_DELAY)
    assert longest / 2 <= retries.compute_delay(count) <= longest


def test_delays_differ() -> None:
    assert len({retries.compute_delay(3) for _ in range(20)}) > 10
