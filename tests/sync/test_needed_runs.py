"""A run is started for a gap in what Polar reports, and for nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Organization, SyncRun, WebhookFeed
from polar_sync.testing import FakePolar

pytestmark = pytest.mark.django_db


def ago(minutes: float | None) -> datetime | None:
    return None if minutes is None else timezone.now() - timedelta(minutes=minutes)


def is_started(gap: tuple[float | None, float | None], *, complete: float | None, last_run: float | None) -> bool:
    """Whether a run is started, given how many minutes ago all of that was."""
    entry = polar_settings.get_organization("default")
    organization = sync.get_organization_row(entry)
    Organization.objects.filter(pk=organization.pk).update(complete_as_of=ago(complete))
    since, until = gap
    WebhookFeed.objects.create(organization=organization, gap_since=ago(since), gap_until=ago(until))
    if last_run is not None:
        run = SyncRun.objects.create(organization=organization, status=SyncRun.Status.FAILED)
        SyncRun.objects.filter(pk=run.pk).update(started_at=ago(last_run))
    return sync.begin_needed_run(entry, sync.get_organization_row(entry)) is not None


@pytest.mark.usefixtures("polar")
@pytest.mark.parametrize("last_run", [None, 20, 300])
def test_no_run_without_a_gap(last_run: float | None) -> None:
    assert not is_started((None, None), complete=60, last_run=last_run)


@pytest.mark.parametrize(
    ("gap", "complete", "last_run", "expected"),
    [
        ((60, 30), 90, None, True),
        ((60, 30), 90, 40, True),  # that run began before the gap had ended
        ((60, 30), 90, 10, False),  # tried just now
        ((60, 30), 90, 20, True),  # tried, in vain
        ((60, 30), 20, 20, False),  # closed by a run
        ((60, 0.05), 90, None, False),  # what Polar reads can still be of before the end
        ((60, None), 90, None, True),  # it goes on: what changed before is fetched
        ((60, None), 90, 50, False),  # and again only once it has ended
    ],
)
def test_gap_that_no_run_has_closed_needs_one(
    polar: FakePolar, gap: tuple[float | None, float | None], complete: float, last_run: float | None, expected: bool
) -> None:
    assert is_started(gap, complete=complete, last_run=last_run) is expected
