from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.clock import ServerClock, Stopwatch, get_own_time, parse_http_date
from polar_sync.exceptions import NotFoundError
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"


def date(offset: timedelta) -> str:
    return format_datetime(datetime.now(UTC).replace(microsecond=0) + offset, usegmt=True)


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


def test_answer_is_as_old_as_its_request(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, date="Fri, 20 Nov 2026 23:00:00 GMT", delay=0.12))
    as_of = client.customers.get(ID).as_of
    age = datetime(2026, 11, 20, 23, tzinfo=UTC) - as_of
    assert as_of.utcoffset() == timedelta()
    assert timedelta(seconds=0.12) <= age < timedelta(seconds=2)


def test_list_and_errors_carry_the_time_too(polar: ScriptedServer, client: PolarClient) -> None:
    shown = "Fri, 20 Nov 2026 23:00:00 GMT"
    polar.answer(
        Reply(body={"items": [], "pagination": {"total_count": 0, "max_page": 0}}, date=shown),
        Reply(status=404, body={"error": "ResourceNotFound", "detail": "Not found"}, date=shown),
    )
    moments = [client.customers.list().as_of]
    with pytest.raises(NotFoundError) as caught:
        client.customers.get(ID)
    assert caught.value.as_of is not None
    for moment in [*moments, caught.value.as_of]:
        assert abs(datetime(2026, 11, 20, 23, tzinfo=UTC) - moment) < timedelta(seconds=2)


@pytest.mark.parametrize("unreadable", [None, "yesterday", "Fri, 20 Nov 99999 23:00:00 GMT"])
@pytest.mark.parametrize("offset", [timedelta(days=3), timedelta(hours=-7)])
def test_without_a_date_our_own_clock_counts_corrected_by_the_last_known_offset(
    polar: ScriptedServer, client: PolarClient, unreadable: str | None, offset: timedelta
) -> None:
    polar.answer(Reply(body={}, date=date(offset)), Reply(body={}, date=unreadable, delay=0.05))
    client.customers.get(ID)
    before = datetime.now(UTC) + offset
    as_of = client.customers.get(ID).as_of
    # `Date` has whole seconds, so the offset is known to one.
    assert before - timedelta(seconds=1.5) < as_of < before + timedelta(seconds=0.5)


def test_without_any_date_our_own_clock_counts(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, date=None, delay=0.5))
    before = get_own_time()
    assert before <= client.customers.get(ID).as_of < before + timedelta(seconds=0.5), "from when it was asked"


def test_date_at_the_edge_of_time_breaks_nothing(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body={}, date="Fri, 31 Dec 9999 23:59:59 GMT"), Reply(body={}, date=None))
    for _ in range(2):
        assert client.customers.get(ID) == {}


def test_time_beyond_the_edge_is_our_own() -> None:
    clock, stopwatch = ServerClock(), Stopwatch()
    clock.read({"Date": "Fri, 31 Dec 9999 23:59:59 GMT"}, stopwatch=stopwatch)
    stopwatch.started_at += timedelta(days=1)
    assert clock.read({}, stopwatch=stopwatch) == stopwatch.started_at


def test_of_two_requests_in_one_second_the_later_is_not_the_earlier() -> None:
    clock = ServerClock()
    shown = {"Date": "Fri, 20 Nov 2026 23:00:00 GMT"}
    quick, slow = Stopwatch(), Stopwatch()
    first = clock.read(shown, stopwatch=quick)
    slow.started_at = quick.started_at + timedelta(milliseconds=200)
    slow.get_elapsed = lambda: timedelta(milliseconds=700)  # type: ignore[method-assign]
    assert clock.read(shown, stopwatch=slow) == first + timedelta(milliseconds=200)


@given(starts=st.lists(st.floats(min_value=0, max_value=100), min_size=2, max_size=10), lag=st.floats(0, 3))
def test_times_follow_the_order_of_the_requests_and_never_pass_the_true_time(starts: list[float], lag: float) -> None:
    clock, epoch = ServerClock(), Stopwatch().started_at
    polar_epoch = datetime(2026, 11, 20, 23, 0, 0, 700_000, tzinfo=UTC)
    told = []
    for start in sorted(starts):
        stopwatch = Stopwatch()
        stopwatch.started_at = epoch + timedelta(seconds=start)
        stopwatch.get_elapsed = lambda: timedelta(seconds=2 * lag)  # type: ignore[method-assign]
        answered = polar_epoch + timedelta(seconds=start + lag)
        told.append(
            clock.read({"Date": format_datetime(answered.replace(microsecond=0), usegmt=True)}, stopwatch=stopwatch)
        )
        assert told[-1] <= answered
    assert told == sorted(told)


def test_clock_that_was_set_back_is_followed() -> None:
    clock = ServerClock()
    clock.read({"Date": "Fri, 20 Nov 2026 23:00:00 GMT"}, stopwatch=Stopwatch())
    as_of = clock.read({"Date": "Fri, 20 Nov 2026 21:00:00 GMT"}, stopwatch=Stopwatch())
    assert as_of <= datetime(2026, 11, 20, 21, tzinfo=UTC)
