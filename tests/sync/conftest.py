"""A server, a mirror, and runs between them. Waits between attempts take no time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncRun
from polar_sync.testing import FakePolar, FakePolarServer
from tests.sync.socketless import check_counts

Run = Callable[..., SyncRun]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polar_sync.client.retries.LONGEST_PAUSE", 0.01)


@pytest.fixture
def polar(polar_server: FakePolarServer, settings: Settings) -> FakePolar:
    """The Polar that the settings point at; it has no customers yet. Each state is one request."""
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "per_customer"}
    return polar_server.polar


@pytest.fixture
def run(polar: FakePolar) -> Run:
    """Runs the default organization to its end, ten seconds of Polar's time after the run before; checks its counts."""

    def run_once(*, is_mass_deletion_allowed: bool = False) -> SyncRun:
        polar.clock_offset += timedelta(seconds=10)
        organization = polar_settings.get_organization("default")
        with sync.connect(organization) as connection:
            begun = sync.begin_run(organization, is_mass_deletion_allowed=is_mass_deletion_allowed)
            ended = sync.work_in_foreground(begun, connection)
        check_counts(ended)
        return ended

    return run_once


def get_end(run: SyncRun) -> tuple[str, str]:
    """What a run ended as, and why."""
    return run.status, run.reason


def change_organization(settings: Any, **keys: Any) -> None:
    """Change keys of the default organization in the settings."""
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], **keys}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"default": entry}}
