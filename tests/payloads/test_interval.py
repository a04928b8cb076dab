from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.payloads import Interval

MOMENTS = st.datetimes(timezones=st.just(UTC))
INTERVALS = st.tuples(MOMENTS, MOMENTS).map(lambda moments: Interval(min(moments), max(moments)))


@given(one=INTERVALS, other=INTERVALS)
def test_two_intervals_are_in_order_or_share_a_moment(one: Interval, other: Interval) -> None:
    share = max(one.start, other.start) <= min(one.end, other.end)
    assert [one.is_after(other), other.is_after(one), share].count(True) == 1


@given(one=INTERVALS, other=INTERVALS)
def test_hull_covers_both_and_nothing_beyond(one: Interval, other: Interval) -> None:
    hull = one.hull(other)
    assert hull == other.hull(one)
    assert {hull.start, hull.end} <= {one.start, one.end, other.start, other.end}
    assert all(hull.start <= each.start <= each.end <= hull.end for each in (one, other))


@given(one=INTERVALS, before=st.timedeltas(timedelta()), after=st.timedeltas(timedelta()))
@example(one=Interval.at(datetime(2000, 1, 1, tzinfo=UTC)), before=timedelta.max, after=timedelta.max)
def test_widened_interval_covers_what_it_was_also_at_the_edges_of_time(
    one: Interval, before: timedelta, after: timedelta
) -> None:
    wide = one.widen(before=before, after=after)
    assert wide.start <= one.start <= one.end <= wide.end


def test_moment_is_an_interval_without_length() -> None:
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    assert Interval.at(moment) == Interval(moment, moment)
