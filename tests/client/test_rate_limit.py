"""Tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient, RequestBudget
from polar_sync.client.rate_limit import LONGEST_JITTER, WINDOW
from polar_sync.exceptions import BudgetWaitError, ClientClosedError, ConfigurationError
from tests.client.conftest import MakeClient
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
OPEN = threading.Event()


class Clock(threading.Event):
    """Time that passes when somebody waits, so that a minute takes none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = time.time()
        self.step = 0.0
        self.waits: list[float] = []
        monkeypatch.setattr(time, "time", lambda: self.now + self.step)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    with monkeypatch.context() as context:
        yield Clock(context)


def make_budget(organization: str, amount: int = 3, **options: Any) -> RequestBudget:
    return RequestBudget(organization=organization, requests_per_minute=amount, **options)


def test_budget_lets_its_number_through_and_then_waits_for_the_minute_to_pass(clock: Clock, organization: str) -> None:
    budget = make_budget(organization)
    assert [budget.acquire(closed=clock) for _ in range(3)] == [0, 0, 0]
    waited = budget.acquire(closed=clock)
    assert WINDOW <= waited <= WINDOW + 2 * LONGEST_JITTER


@pytest.mark.parametrize("step", [-3600, 3600])
def test_system_clock_that_is_set_changes_no_wait(clock: Clock, organization: str, step: int) -> None:
    budget = make_budget(organization, 1)
    budget.acquire(closed=clock)
    clock.step = step
    assert WINDOW <= budget.acquire(closed=clock) <= WINDOW + 2 * LONGEST_JITTER


@given(
    amount=st.integers(1, 6),
    steps=st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=40),
    name=st.uuids(),
)
def test_no_minute_ever_sees_more_than_the_number(amount: int, steps: list[float], name: object) -> None:
    with pytest.MonkeyPatch.context() as context:
        clock = Clock(context)
        budget = make_budget(f"test-{name}", amount)
        sent = []
        for step in steps:
            clock.now += step
            budget.acquire(closed=clock)
            sent.append(clock.now)
    for first in range(len(sent)):
        assert sum(sent[first] <= each <= sent[first] + 60 for each in sent) <= amount


def test_budget_refuses_at_once_what_would_take_longer_than_max_wait(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, 1, max_wait=10)
    budget.acquire(closed=clock)
    clock.now += 21
    with pytest.raises(BudgetWaitError, match=organization) as caught:
        budget.acquire(closed=clock)
    assert caught.value.retry_in == pytest.approx(WINDOW - 21, abs=0.01)
    assert not caught.value.permanent
    assert clock.waits == []
    clock.now += 35
    assert budget.acquire(closed=clock) > 0


def test_budget_that_refused_has_not_counted(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, 1, max_wait=0)
    budget.acquire(closed=clock)
    for _ in range(5):
        with pytest.raises(BudgetWaitError):
            budget.acquire(closed=clock)
    clock.now += WINDOW + 0.1
    assert budget.acquire(closed=clock) == 0


def test_get_wait_tells_the_wait_and_counts_nothing(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, 2)
    for _ in range(10):
        assert budget.get_wait() == 0
    budget.acquire(closed=clock)
    clock.now += 10
    budget.acquire(closed=clock)
    assert budget.get_wait() == pytest.approx(WINDOW - 10, abs=0.01)
    budget.pause(100)
    assert budget.get_wait() == pytest.approx(100, abs=0.01)


def test_budgets_of_one_organization_are_one_and_of_two_are_two(clock: Clock, organization: str) -> None:
    first, second = make_budget(organization, max_wait=0), make_budget(organization, max_wait=0)
    for budget in (first, second, first):
        budget.acquire(closed=clock)
    for budget in (first, second):
        with pytest.raises(BudgetWaitError):
            budget.acquire(closed=clock)
    for other in (make_budget(f"{organization}-2", max_wait=0), make_budget(organization, max_wait=0, server="x")):
        assert other.acquire(closed=clock) == 0


def test_pause_holds_everybody_of_the_organization_whatever_their_number(clock: Clock, organization: str) -> None:
    make_budget(organization, 3).pause(50)
    waited = make_budget(organization, 500).acquire(closed=clock)
    assert 50 <= waited <= 50 + 2 * LONGEST_JITTER


def test_pause_is_never_shortened_and_can_be_extended(clock: Clock, organization: str) -> None:
    budget = make_budget(organization)
    budget.pause(60)
    budget.pause(5)
    budget.pause(0)
    assert budget.get_wait() == pytest.approx(60, abs=0.01)
    clock.now += 30
    budget.pause(60)
    assert budget.get_wait() == pytest.approx(60, abs=0.01)


def test_pause_ends(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, max_wait=0)
    budget.pause(60)
    clock.now += 60
    assert budget.acquire(closed=clock) == 0


def test_those_who_wait_for_one_moment_do_not_wake_in_one(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, 500)
    for _ in range(20):
        budget.pause(60)
        budget.acquire(closed=clock)
        clock.now += 61
    assert len({round(each, 4) for each in clock.waits}) > 15
    assert all(60 <= each <= 60 + LONGEST_JITTER for each in clock.waits)


def test_threads_together_never_exceed_the_number(organization: str) -> None:
    budget = make_budget(organization, 40, max_wait=0)

    def try_once(_: int) -> bool:
        try:
            budget.acquire(closed=OPEN)
        except BudgetWaitError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(try_once, range(400))) == 40


def test_closing_wakes_who_waits_for_the_budget(organization: str) -> None:
    budget, closed = make_budget(organization), threading.Event()
    budget.pause(60)
    threading.Timer(0.05, closed.set).start()
    started = time.monotonic()
    with pytest.raises(ClientClosedError):
        budget.acquire(closed=closed)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "500", None])
def test_number_that_is_none_is_refused(amount: Any) -> None:
    with pytest.raises(ConfigurationError, match="requests_per_minute"):
        RequestBudget(organization="x", requests_per_minute=amount)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_wait_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="max_wait"):
        make_budget("x", max_wait=seconds)


@pytest.mark.parametrize(
    ("server", "amount"),
    [("production", 500), ("sandbox", 100), ("https://sandbox-api.polar.sh/", 100), ("http://127.0.0.1:1", 500)],
)
def test_client_without_a_budget_has_polars_own_limit(server: str, amount: int) -> None:
    with PolarClient("polar_oat_x", server=server) as client:
        assert client._transport._budget.requests_per_minute == amount


def test_every_attempt_goes_through_the_budget(
    polar: ScriptedServer, make_client: MakeClient, organization: str
) -> None:
    client = make_client(budget=make_budget(organization, 3, max_wait=0), max_attempts=10)
    polar.answer(Reply(status=503))
    with pytest.raises(BudgetWaitError):
        client.customers.get(ID)
    assert len(polar.received) == client.usage.requests == 3


def test_waits_of_many_callers_follow_one_another(clock: Clock, organization: str) -> None:
    budget = make_budget(organization, 2)
    moments = []
    for _ in range(9):
        budget.acquire(closed=clock)
        moments.append(clock.now)
    assert all(later - earlier >= WINDOW for earlier, later in pairwise(moments[::2]))
