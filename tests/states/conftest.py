"""A generated organization, mirrored from Polar's lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncRun
from polar_sync.testing import FakePolar, FakePolarServer

Run = Callable[..., SyncRun]
Compare = Callable[..., list[str]]


@pytest.fixture
def polar(polar_server: FakePolarServer) -> FakePolar:
    """The Polar that the settings point at, with 130 customers."""
    polar_server.polar.generate_customers(130, seed=7)
    return polar_server.polar


@pytest.fixture
def run(polar: FakePolar, settings: Settings) -> Run:
    """Runs the default organization with a source of states and a token."""

    def run_once(source: str = "batched", *, token: str | None = None) -> SyncRun:
        polar.clock_offset += timedelta(seconds=10)
        entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
        entry = {**entry, "ACCESS_TOKEN": token or polar.access_token}
        settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}, "STATE_SOURCE": source}
        organization = polar_settings.get_organization("default")
        with sync.connect(organization) as connection:
            return sync.work_in_foreground(sync.begin_run(organization), connection)

    return run_once


def find_differences(polar: FakePolar, *, without: Iterable[str] = ()) -> list[str]:
    """Ids of the customers whose mirrored state is not Polar's, arrays taken as sets by id."""
    mirrored = {str(customer.pk): customer.state() for customer in Customer.objects.with_state()}
    expected = {customer_id: polar.get_state(customer_id) for customer_id in polar.customers}
    assert mirrored.keys() == expected.keys()
    skipped = frozenset(without)
    return [key for key, state in expected.items() if _normalize(state, skipped) != _normalize(mirrored[key], skipped)]


def _normalize(value: Any, skipped: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _normalize(item, skipped) for key, item in value.items() if key not in skipped}
    if isinstance(value, list) and all(isinstance(item, dict) and "id" in item for item in value):
        return {item["id"]: _normalize(item, skipped) for item in value}
    return value
