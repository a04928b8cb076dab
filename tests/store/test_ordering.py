from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.payloads import Interval, dump_canonical
from polar_sync.payloads.values import read_timestamp
from polar_sync.store.ordering import (
    CLOCK_TOLERANCE,
    END_TOLERANCE,
    Order,
    Reading,
    Source,
    bound_start,
    get_later,
    get_version,
    prove_older,
    supersedes,
)
from tests.payloads.strategies import JSON_VALUES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MOMENTS = st.datetimes(
    NOON.replace(tzinfo=None) - 3 * timedelta(days=1), NOON.replace(tzinfo=None), timezones=st.just(UTC)
)
READINGS = st.builds(
    lambda one, other, source: Reading(Interval(min(one, other), max(one, other)), source),
    MOMENTS,
    MOMENTS,
    st.sampled_from(Source),
)
VERSIONS = st.none() | MOMENTS
TEXTS = (MOMENTS | st.datetimes(timezones=st.just(UTC))).map(datetime.isoformat)


def read_between(start: float, end: float, source: Source = Source.READ) -> Reading:
    return Reading(Interval(NOON + start * MINUTE, NOON + end * MINUTE), source)


def test_readings_are_in_order_only_where_they_share_no_moment() -> None:
    assert read_between(2, 3).compare(read_between(0, 1)) is Order.LATER
    assert read_between(0, 1).compare(read_between(2, 3)) is Order.EARLIER
    assert read_between(0, 2).compare(read_between(2, 3)) is Order.OVERLAPPING
    assert read_between(0, 1).compare(None) is Order.LATER


@given(new=READINGS, stored=READINGS, version=VERSIONS, older=st.timedeltas(timedelta(microseconds=1), MINUTE))
def test_an_object_is_never_replaced_by_an_older_version(
    new: Reading, stored: Reading, version: datetime | None, older: timedelta
) -> None:
    version = version or NOON
    assert not supersedes(new, stored, version=version - older, stored_version=version)
    assert supersedes(new, stored, version=version, stored_version=version - older)


@given(new=READINGS, stored=READINGS, version=VERSIONS)
def test_of_two_readings_of_one_version_the_later_holds_and_else_the_better_source(
    new: Reading, stored: Reading, version: datetime | None
) -> None:
    holds = supersedes(new, stored, version=version, stored_version=version)
    match new.compare(stored):
        case Order.LATER:
            assert holds
        case Order.EARLIER:
            assert not holds
        case _ if new.source != stored.source:
            assert holds == (new.source > stored.source)
        case _:
            assert holds == (new.interval.end + END_TOLERANCE >= stored.interval.end)


def test_without_a_version_readings_decide() -> None:
    later, earlier = read_between(2, 3), read_between(0, 1)
    for version, stored_version in ((None, NOON), (NOON, None)):
        assert supersedes(later, earlier, version=version, stored_version=stored_version)
        assert not supersedes(earlier, later, version=version, stored_version=stored_version)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({"modified_at": "2026-03-01T11:00:00Z", "created_at": "2026-03-01T10:00:00Z"}, NOON - 60 * MINUTE),
        ({"modified_at": None, "created_at": "2026-03-01T10:00:00Z"}, NOON - 120 * MINUTE),
        ({"modified_at": "yesterday"}, None),
        ({}, None),
        ({"modified_at": "2026-03-01T12:01:00Z"}, NOON + MINUTE),
        ({"modified_at": "2026-03-01T12:01:01Z"}, None),
        ({"modified_at": "9999-12-31T23:59:59Z"}, None),
    ],
)
def test_version_is_when_it_was_modified_unless_that_lies_beyond_the_reading(
    fields: dict[str, Any], version: datetime | None
) -> None:
    assert get_version(dump_canonical(fields), read_between(-5, 0)) == version


@example(objects=[{"created_at": "2026-02-28T23:00:00-14:00"}])
@given(
    objects=st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("created_at", "modified_at"), TEXTS | JSON_VALUES)),
        max_size=4,
    )
)
def test_reading_begins_no_earlier_than_the_newest_change_in_it(objects: list[dict[str, Any]]) -> None:
    """However Polar spells it: the texts are compared before they are read."""
    interval = Interval(NOON - timedelta(hours=1), NOON)
    times = [read_timestamp(each.get(name)) for each in objects for name in ("created_at", "modified_at")]
    believed = [time for time in times if time is not None and time <= NOON + CLOCK_TOLERANCE]
    expected = min(max([interval.start, *believed]), interval.end)
    assert bound_start(interval, objects) == Interval(expected, interval.end)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOON])
def test_reading_without_a_change_in_it_begins_where_it_began(moment: datetime) -> None:
    nothing: tuple[list[Any], ...] = ([], [None, "text", {}])
    for objects in nothing:
        assert bound_start(Interval.at(moment), objects) == Interval.at(moment)


@given(one=READINGS, other=READINGS)
def test_of_two_readings_that_found_the_same_the_one_of_the_later_time_is_kept(one: Reading, other: Reading) -> None:
    kept = get_later(one, other)
    assert kept in (one, other)
    assert kept.interval.start == max(one.interval.start, other.interval.start)


def test_reading_of_an_older_version_was_before_the_newer_one() -> None:
    reading = read_between(-60, 0, Source.STATE)
    assert prove_older(reading, []) is reading
    assert prove_older(reading, [NOON + MINUTE]) is reading
    assert prove_older(reading, [NOON - 10 * MINUTE, NOON]) == read_between(-60, -10, Source.STATE)
    assert prove_older(reading, [NOON - 90 * MINUTE]) == read_between(-90, -90, Source.STATE)
