from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.clock import LARGEST_ERROR, ServerClock, Stopwatch, get_own_time, parse_http_date
from polar_sync.exceptions import NotFoundError
from polar_sync.payloads import Interval
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"


def date(offset: timedelta) -> str:
    """By our own clock, from which the system's may have been set away since this process began."""
    return format_datetime(get_own_time().replace(microsecond=0) + offset, usegmt=True)


@given(moment=st.datetimes(min_value=datetime(1970, 1, 1)))  # noqa: DTZ001 - made aware below
def test_http_date_is_read_back(moment: datetime) -> None:
    aware = moment.replace(microsecond=0, tzinfo=UTC)
    assert parse_http_date(format_datetime(aware, usegmt=True)) == aware


@given(text=st.text())
def test_any_text_is_a_date_or_none(text: str) -> None:
    found = parse_http_date(text)
    assert found is None or found.utcoffset() == timedelta()


def test_date_without_a_known_zone_is_utc() -> None:
    assert parse_http_date("Fri, 20 Nov 2026 23:00:00 -0000") == datetime(2026, 11, 20, 23, tzinfo=UTC)


def test_answer_was_read_while_it_was_asked_for(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, delay=0.12, date=date(timedelta())))
    before = get_own_time()
    interval = client.customers.get(ID).interval
    assert interval.start.utcoffset() == interval.end.utcoffset() == timedelta()
    assert before - timedelta(seconds=3) < interval.start <= before + timedelta(seconds=0.12)
    assert before + timedelta(seconds=0.12) <= interval.end < get_own_time() + timedelta(seconds=3)


def test_list_and_errors_carry_the_time_too(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(
        Reply(body={"items": [], "pagination": {"total_count": 0, "max_page": 0}}, date=date(timedelta())),
        Reply(status=404, body={"error": "ResourceNotFound", "detail": "Not found"}, date=date(timedelta())),
    )
    before = get_own_time()
    intervals = [client.customers.list().interval]
    with pytest.raises(NotFoundError) as caught:
        client.customers.get(ID)
    assert caught.value.interval is not None
    for interval in [*intervals, caught.value.interval]:
        assert interval.start <= get_own_time()
        assert interval.end >= before
        assert interval.end - interval.start < timedelta(seconds=10)


@pytest.mark.parametrize("unreadable", [None, "yesterday", "Fri, 20 Nov 99999 23:00:00 GMT"])
@pytest.mark.parametrize("offset", [timedelta(minutes=4), timedelta(minutes=-3)])
def test_answer_without_a_date_may_be_of_our_own_time_or_of_the_one_shown_last(
    polar: ScriptedServer, client: PolarClient, unreadable: str | None, offset: timedelta
) -> None:
    polar.answer(Reply(body={}, date=date(offset)), Reply(body={}, date=unreadable, delay=0.05))
    client.customers.get(ID)
    before = get_own_time()
    interval = client.customers.get(ID).interval
    after = get_own_time()
    assert interval.start <= after + min(offset, timedelta())
    assert interval.end >= before + max(offset, timedelta())
    assert interval.end - interval.start < abs(offset) + timedelta(seconds=4)


def test_without_any_date_our_own_clock_counts(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, date=None, delay=0.5))
    before = get_own_time()
    interval = client.customers.get(ID).interval
    assert before <= interval.start < before + timedelta(seconds=0.5) <= interval.end


def test_date_at_the_edge_of_time_breaks_nothing(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, date="Fri, 31 Dec 9999 23:59:59 GMT"), Reply(body={}, date=None))
    for _ in range(2):
        assert client.customers.get(ID) == {}


class Simulation:
    """A clock and the answers that it reads, `offset` and all times in seconds."""

    def __init__(self) -> None:
        self.clock = ServerClock()
        self.began = datetime(2026, 11, 20, 23, 0, 0, 700_000, tzinfo=UTC)

    def ask(self, at: float, *, lag: float = 0.1, offset: float | None = 0.0) -> Interval:
        """Read an answer to a request sent `at`, answered after `lag` and received after as long again."""
        stopwatch = Stopwatch()
        stopwatch.started_at = self.began + timedelta(seconds=at)
        stopwatch.get_elapsed = lambda: timedelta(seconds=2 * lag)  # type: ignore[method-assign]
        shown = self.began + timedelta(seconds=at + lag + (offset or 0.0))
        headers = {} if offset is None else {"Date": format_datetime(shown.replace(microsecond=0), usegmt=True)}
        return self.clock.read(headers, stopwatch=stopwatch)

    def covers(self, interval: Interval, at: float, *, lag: float = 0.1, offset: float = 0.0) -> bool:
        """Whether an answer can have been read at any moment of its request, on a clock that is so far off."""
        sent = self.began + timedelta(seconds=at + offset)
        return interval.start <= sent and sent + timedelta(seconds=2 * lag) <= interval.end

    def confirm(self, *offsets: float, at: float = 0.0, lag: float = 0.1) -> float:
        """Let answers of machines that are so far off come in turn for a minute, and return when that ends."""
        for n in range(60):
            # At every part of a second in turn.
            self.ask(at + n * 0.9837, offset=offsets[n % len(offsets)], lag=lag * (n % 3 + 1))
        return at + 60


LAGS = st.floats(0, 3)
GAPS = st.floats(0, 20)
OFFSETS = st.floats(-290, 290)
WILD = st.floats(-1e9, 1e9) | st.floats(-10, 10)


@given(offset=OFFSETS, answers=st.lists(st.tuples(GAPS, LAGS, st.booleans()), min_size=1, max_size=60))
def test_answer_was_read_within_its_interval_whatever_our_own_clock_says(
    offset: float, answers: list[tuple[float, float, bool]]
) -> None:
    simulation, at, has_shown = Simulation(), 0.0, False
    for gap, lag, shows in answers:
        at += gap
        has_shown |= shows
        interval = simulation.ask(at, lag=lag, offset=offset if shows else None)
        assert not has_shown or simulation.covers(interval, at, lag=lag, offset=offset)


@given(offset=st.floats(-1e7, 1e7))
def test_offset_that_answers_agree_on_is_known_to_little_more_than_a_second_either_way(offset: float) -> None:
    simulation = Simulation()
    at = simulation.confirm(offset)
    interval = simulation.ask(at, offset=None)
    assert simulation.covers(interval, at, offset=offset)
    assert interval.end - interval.start < timedelta(seconds=3)


def test_date_of_the_first_answer_is_not_believed_alone() -> None:
    simulation = Simulation()
    for offset in (3600.0, 10 * 365 * 86_400.0):
        simulation.ask(0, offset=offset)
        interval = simulation.ask(1)
        assert simulation.covers(interval, 1)
        assert interval.end - interval.start < timedelta(seconds=4)


def test_date_beyond_what_our_own_clock_can_be_wrong_by_is_not_believed_even_for_its_own_answer() -> None:
    simulation = Simulation()
    for wild in (-1e8, -310.0, 310.0, 1e8):
        interval = simulation.ask(0, offset=wild)
        assert simulation.covers(interval, 0)
        assert interval.end - interval.start < 2 * LARGEST_ERROR + timedelta(seconds=2)


@pytest.mark.parametrize("offset", [-299.0, 299.0])
@pytest.mark.parametrize("before", [[], [None], [1e8], ["own", -1e8], ["own", -1e8, 299.0]])
def test_wild_date_does_not_hide_by_how_much_our_own_clock_is_wrong(offset: float, before: list[Any]) -> None:
    simulation = Simulation()
    for shown in before:
        simulation.ask(0, offset=offset if shown == "own" else shown)
    assert simulation.covers(simulation.ask(1, offset=1e8), 1, offset=offset)


@given(offset=OFFSETS, wild=st.lists(WILD, max_size=2), lag=LAGS, wild_lag=LAGS)
def test_few_wild_dates_never_move_the_clock(offset: float, wild: list[float], lag: float, wild_lag: float) -> None:
    alone, disturbed = Simulation(), Simulation()
    for simulation in (alone, disturbed):
        at = simulation.confirm(offset, lag=lag)
    for each in wild:
        at += 20
        found = disturbed.ask(at, offset=offset + each, lag=wild_lag)
        if min(map(abs, wild)) > 20:
            assert found == alone.ask(at, offset=None, lag=wild_lag)
        assert disturbed.covers(found, at, offset=offset, lag=wild_lag)
    at += 20
    assert disturbed.covers(disturbed.ask(at, offset=offset), at, offset=offset)


@given(
    offset=OFFSETS,
    wild=WILD,
    answers=st.lists(st.tuples(GAPS, LAGS), min_size=2, max_size=30),
    n=st.integers(0),
)
def test_one_wild_date_at_any_time_leaves_all_other_answers_right(
    offset: float, wild: float, answers: list[tuple[float, float]], n: int
) -> None:
    simulation, at = Simulation(), 0.0
    for index, (gap, lag) in enumerate(answers):
        at += gap
        is_wild = index == n % len(answers)
        interval = simulation.ask(at, lag=lag, offset=wild if is_wild else offset)
        assert is_wild or simulation.covers(interval, at, lag=lag, offset=offset)


@given(offset=OFFSETS, difference=st.floats(0, 30), lag=st.floats(0, 0.4), turns=st.lists(st.booleans()))
def test_machines_that_differ_are_both_covered_once_both_keep_being_confirmed(
    offset: float, difference: float, lag: float, turns: list[bool]
) -> None:
    simulation, other = Simulation(), offset + difference
    at = simulation.confirm(offset, other, offset, lag=lag)
    at = simulation.confirm(offset, other, at=at, lag=lag)
    widths = set()
    for is_other in turns:
        at += 7
        interval = simulation.ask(at, offset=other if is_other else offset)
        assert simulation.covers(interval, at, offset=offset)
        assert simulation.covers(interval, at, offset=other)
        widths.add(interval.end - interval.start)
    assert max(widths, default=timedelta()) < timedelta(seconds=difference + 6)


@pytest.mark.parametrize("wild", [-3.0, 3.0])
def test_wild_date_within_what_slow_answers_leave_open_does_not_move_the_clock(wild: float) -> None:
    simulation = Simulation()
    at = simulation.confirm(0, lag=3)
    simulation.ask(at, offset=wild, lag=0.01)
    assert simulation.covers(simulation.ask(at + 1), at + 1)


def test_burst_of_wild_dates_that_agree_does_not_move_the_clock() -> None:
    simulation = Simulation()
    at = simulation.confirm(0)
    for n in range(100):
        interval = simulation.ask(at + n / 20, offset=60)
        assert simulation.covers(interval, at + n / 20)
        assert interval.end - interval.start < timedelta(seconds=3)


def test_two_machines_that_differ_by_two_seconds_neither_move_the_clock_nor_stop_it() -> None:
    simulation = Simulation()
    at = simulation.confirm(0, 2)
    read = [simulation.ask(at + n, offset=2 * (n % 2)) for n in range(600)]
    steps = {later.start - earlier.start for earlier, later in pairwise(read)}
    assert max(steps) - min(steps) < timedelta(seconds=1)
    assert all(read[n + 6].is_after(read[n]) for n in range(594))


def test_machine_that_is_gone_is_forgotten() -> None:
    simulation = Simulation()
    at = simulation.confirm(0, 3600)
    assert simulation.ask(at).end - simulation.ask(at).start > timedelta(hours=1)
    for _ in range(15):
        at = simulation.confirm(0, at=at)
    interval = simulation.ask(at)
    assert simulation.covers(interval, at)
    assert interval.end - interval.start < timedelta(seconds=3)


@pytest.mark.parametrize("step", [-7200.0, 2.0, 7200.0])
def test_clock_of_polar_that_was_set_is_followed_and_the_former_time_forgotten(step: float) -> None:
    simulation = Simulation()
    at = simulation.confirm(0)
    assert simulation.covers(simulation.ask(at, offset=step), at, offset=0)
    at = simulation.confirm(step, at=at)
    assert simulation.covers(simulation.ask(at, offset=step), at, offset=step)
    for _ in range(15):
        at = simulation.confirm(step, at=at)
    interval = simulation.ask(at, offset=step)
    assert simulation.covers(interval, at, offset=step)
    assert interval.end - interval.start < timedelta(seconds=3)


def test_idle_client_forgets_nothing() -> None:
    simulation = Simulation()
    at = simulation.confirm(0, 2) + 86_400
    interval = simulation.ask(at)
    assert simulation.covers(interval, at, offset=0)
    assert simulation.covers(interval, at, offset=2)


def test_dates_that_agree_on_nothing_are_not_kept_for_ever() -> None:
    simulation = Simulation()
    for n in range(500):
        simulation.ask(n, offset=10_000.0 * n)
    assert len(simulation.clock._offsets) <= 20
    assert simulation.covers(simulation.ask(500, offset=None), 500)


def test_our_own_clock_goes_on_though_the_system_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_own_time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert timedelta() <= get_own_time() - before < timedelta(minutes=1)
