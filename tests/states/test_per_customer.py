"""Where states come from: on threads, bounded, in the order of arrival, with ticks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from polar_sync.client import PolarClient
from polar_sync.exceptions import (
    AuthenticationError,
    BudgetWaitError,
    NotFoundError,
    RouteNotFoundError,
    ServerError,
)
from polar_sync.states import PerCustomerSource, StateAnswer, stops_fetching, wait_for
from polar_sync.testing import FakePolar, FakePolarServer, Fault

STATE = "customers:get_state"


@pytest.fixture
def polar() -> FakePolar:
    return FakePolar.generate(seed=1, customers=12)


@pytest.fixture
def client(polar: FakePolar) -> Iterator[PolarClient]:
    with FakePolarServer(polar) as server, PolarClient(access_token=polar.access_token, server=server.url) as client:
        yield client


def fetch(
    client: PolarClient, ids: list[UUID], *, concurrency: int = 3, ticks: list[int] | None = None
) -> list[StateAnswer]:
    with ThreadPoolExecutor(concurrency) as executor:
        source = PerCustomerSource(client, executor, concurrency)
        return list(source.fetch(dict.fromkeys(ids), on_tick=lambda: (ticks if ticks is not None else []).append(1)))


def get_ids(polar: FakePolar) -> list[UUID]:
    return [UUID(customer_id) for customer_id in polar.customers]


def test_every_customer_gets_its_state(polar: FakePolar, client: PolarClient) -> None:
    ticks: list[int] = []
    answers = fetch(client, get_ids(polar), ticks=ticks)
    assert {str(answer.id): answer.state for answer in answers} == {
        key: polar.get_state(key) for key in polar.customers
    }
    assert all(answer.error is None for answer in answers)
    assert polar.counts == {STATE: 12}
    assert ticks


def test_nobody_asked_for_is_nobody_answered(client: PolarClient) -> None:
    assert fetch(client, []) == []


def test_no_more_requests_are_under_way_than_allowed(polar: FakePolar, client: PolarClient) -> None:
    present, most, lock = [0], [0], threading.Lock()

    def count() -> None:
        with lock:
            present[0] += 1
            most[0] = max(most[0], present[0])
        time.sleep(0.01)
        with lock:
            present[0] -= 1

    polar.before(STATE, count, times=None)
    fetch(client, get_ids(polar), concurrency=3)
    assert most == [3]


def test_failure_of_one_customer_is_its_own(polar: FakePolar, client: PolarClient) -> None:
    broken, unknown, *_ = ids = [*get_ids(polar)[:1], uuid4(), *get_ids(polar)[1:]]
    polar.faults.add(Fault(kind="server_error", customer=broken, times=None))
    answers = {answer.id: answer for answer in fetch(client, ids)}
    assert isinstance(answers[broken].error, ServerError)
    assert isinstance(answers[unknown].error, NotFoundError)
    assert sum(answer.state is not None for answer in answers.values()) == 11


def test_refused_token_stops_the_asking(polar: FakePolar, client: PolarClient) -> None:
    polar.faults.add(Fault(kind="unauthorized", operation=STATE, after=2, times=None))
    answers = fetch(client, get_ids(polar), concurrency=1)
    assert [answer.state is not None for answer in answers] == [True, True, False]
    assert isinstance(answers[-1].error, AuthenticationError)
    assert polar.counts[STATE] == 3


def test_bare_404_does_not_stop_fetching() -> None:
    assert not stops_fetching(RouteNotFoundError("", method="GET", path="/"))
    assert not stops_fetching(None)
    assert stops_fetching(BudgetWaitError("", retry_in=1))


def test_ticks_come_while_an_answer_does_not(
    polar: FakePolar, client: PolarClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("source", "per_customer"):
        monkeypatch.setattr(f"polar_sync.states.{module}.TICK_SECONDS", 0.01)
    polar.faults.add(Fault(kind="latency", seconds=0.15))
    ticks: list[int] = []
    fetch(client, get_ids(polar)[:1], ticks=ticks)
    assert len(ticks) > 3
    ticks.clear()
    with ThreadPoolExecutor(1) as executor:
        assert wait_for(executor.submit(time.sleep, 0.1), on_tick=lambda: ticks.append(1)) is None
    assert len(ticks) > 3


def test_caller_that_gives_up_cancels_what_has_not_begun(polar: FakePolar, client: PolarClient) -> None:
    polar.faults.add(Fault(kind="latency", seconds=0.05, times=None))
    with ThreadPoolExecutor(1) as executor:
        answers = PerCustomerSource(client, executor, 4).fetch(dict.fromkeys(get_ids(polar)), on_tick=lambda: None)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
    assert polar.counts[STATE] < 4


def test_threads_never_touch_the_orm(polar: FakePolar, client: PolarClient) -> None:
    """No database is allowed in this test at all, and the source works."""
    assert len(fetch(client, get_ids(polar))) == 12
