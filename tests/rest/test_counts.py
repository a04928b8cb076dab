"""A long list is not counted anew for each page."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from polar_sync.models import Organization
from polar_sync.rest import pagination
from tests.factories import apply_states, build_state, read_at

pytestmark = pytest.mark.django_db


@pytest.fixture
def long_list(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> Organization:
    monkeypatch.setattr(pagination, "LONG", 3)
    apply_states(organization, *(build_state(name) for name in "abc"), interval=read_at(0))
    return organization


def read_total(api: Client, query: str = "") -> int:
    total: int = api.get(f"/polar/v1/customers/?limit=1&{query}").json()["pagination"]["total_count"]
    return total


def test_count_of_a_long_list_is_kept(long_list: Organization, api: Client) -> None:
    assert read_total(api) == 3
    apply_states(long_list, build_state("d"), interval=read_at(0))
    assert read_total(api) == 3
    assert read_total(api, "email=d@example.com") == 1
    assert read_total(api, "metadata[plan]=pro") == 4


def test_first_page_that_holds_all_needs_no_count(long_list: Organization, api: Client) -> None:
    for limit, statements in ((3, 3), (4, 2)):
        with CaptureQueriesContext(connection) as queries:
            answer = api.get(f"/polar/v1/customers/?limit={limit}")
        assert answer.json()["pagination"] == {"total_count": 3, "max_page": 1}
        assert len(queries) == statements


def test_count_of_a_short_list_is_not_kept(long_list: Organization, api: Client) -> None:
    assert read_total(api, "email=d@example.com") == 0
    apply_states(long_list, build_state("d"), interval=read_at(0))
    assert read_total(api, "email=d@example.com") == 1


def test_counting_each_time_is_a_setting(long_list: Organization, api: Client, settings: Settings) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "REST_COUNT_SECONDS": 0}
    assert read_total(api) == 3
    apply_states(long_list, build_state("d"), interval=read_at(0))
    assert read_total(api) == 4
