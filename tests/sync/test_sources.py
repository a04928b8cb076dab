"""Which source a run gets its states from, with several workers at it."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncRun
from polar_sync.states import BatchedSource
from polar_sync.sync.sources import open_source
from polar_sync.testing import FakePolar

pytestmark = pytest.mark.django_db

NOTE = "Lists contradict a state. States are asked for one by one."


@pytest.mark.parametrize("source", ["", SyncRun.Source.BATCHED])
def test_worker_that_has_not_heard_of_a_fallback_does_not_undo_it(
    polar: FakePolar, settings: Settings, source: str
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "auto"}
    organization = polar_settings.get_organization("default")
    run = sync.begin_run(organization)
    SyncRun.objects.update(source=source)
    run.refresh_from_db()
    SyncRun.objects.update(source=SyncRun.Source.PER_CUSTOMER, source_note=NOTE)
    with sync.connect(organization) as connection:
        opened = open_source(run, connection, ())
        assert source or opened is connection.per_customer
    kept = SyncRun.objects.get()
    assert (kept.source, kept.source_note) == (SyncRun.Source.PER_CUSTOMER, NOTE)


def test_source_that_the_settings_name_anew_is_noted(polar: FakePolar, settings: Settings) -> None:
    organization = polar_settings.get_organization("default")
    run = sync.begin_run(organization)
    with sync.connect(organization) as connection:
        assert open_source(run, connection, ()) is connection.per_customer
        settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "batched"}
        assert isinstance(open_source(run, connection, ()), BatchedSource)
    assert SyncRun.objects.get().source == SyncRun.Source.BATCHED
