from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.clock import parse_http_date
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
        assert timedelta() < datetime(2026, 11, 20, 23, tzinfo=UTC) - moment < timedelta(seconds=2)


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
    polar.answer(Reply(body={}, date=None, delay=0.1))
    before = datetime.now(UTC)
    assert before <= client.customers.get(ID).as_of < before + timedelta(seconds=0.1)


@pytest.mark.parametrize("edge", ["Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_date_at_the_edge_of_time_breaks_nothing(polar: ScriptedServer, client: PolarClient, edge: str) -> None:
    polar.answer(Reply(body={}, date=edge), Reply(body={}, date=None))
    for _ in range(2):
        assert client.customers.get(ID) == {}
