"""The list of runs, and what a run's page shows while the run goes."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.admin.run_page import get_share
from polar_sync.models import Organization, SyncFailure, SyncRun
from tests.factories import make_id

LIST = "/admin/polar_sync/syncrun/"
pytestmark = pytest.mark.django_db


def test_list_tells_what_each_run_came_to(viewer: Client, organization: Organization) -> None:
    SyncRun.objects.create(
        organization=organization,
        status="partial",
        reason="customers_failed",
        source=SyncRun.Source.PER_CUSTOMER,
        pass_total=1200,
        created=1000,
        failed=200,
        requests=4321,
        throttled_seconds=75,
        finished_at=timezone.now(),
    )
    SyncRun.objects.create(organization=organization, pass_total=1000, unchanged=250)
    page = viewer.get(LIST).content.decode()
    for text in ("customers_failed", "1,200", "200 ✗", "4,321", "1 min 15 s", "each customer&#x27;s state", "25.0 %"):
        assert text in page, text


def test_list_asks_few_questions_however_many_runs(viewer: Client, organization: Organization) -> None:
    SyncRun.objects.bulk_create(SyncRun(organization=organization, status="failed") for _ in range(60))
    with CaptureQueriesContext(connection) as queries:
        assert viewer.get(LIST).status_code == 200
    assert len(queries) <= 10


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({"status": "running"}, None),
        ({"status": "running", "pass_total": 0}, 0.999),
        ({"status": "running", "pass_total": 200, "created": 50}, 0.25),
        ({"status": "running", "pass_total": 200, "created": 300}, 0.999),
        ({"status": "succeeded", "pass_total": 200, "created": 100}, 1.0),
        ({"status": "failed", "pass_total": 200, "created": 100}, 0.5),
    ],
)
def test_share_is_of_what_polar_listed(fields: dict[str, object], share: float | None) -> None:
    assert get_share(SyncRun(**fields)) == share


def test_live_answer_follows_the_run(viewer: Client, organization: Organization) -> None:
    run = SyncRun.objects.create(organization=organization, pass_total=10, created=4)
    url = f"{LIST}{run.pk}/live.json"
    first = viewer.get(url).json()
    assert first["is_running"]
    assert "40.0 %" in first["parts"]["status"]
    SyncRun.objects.filter(pk=run.pk).update(status="partial", failed=1, created=9, reason="customers_failed")
    SyncFailure.objects.create(run=run, customer_id="(no id) abc", reason="has no valid id <b>")
    last = viewer.get(url).json()
    assert not last["is_running"]
    assert "customers_failed" in last["parts"]["status"]
    assert "has no valid id &lt;b&gt;" in last["parts"]["failures"]
    assert viewer.get(f"{LIST}999999/live.json").status_code == 404


def test_failures_are_grouped_by_reason_without_their_ids(viewer: Client, organization: Organization) -> None:
    run = SyncRun.objects.create(organization=organization, status="partial", failed=300)
    SyncFailure.objects.bulk_create(
        SyncFailure(run=run, customer_id=make_id(n), reason=f"ServerError: GET /v1/customers/{make_id(n)}/state: 502")
        for n in range(300)
    )
    with CaptureQueriesContext(connection) as queries:
        page = viewer.get(f"{LIST}{run.pk}/change/").content.decode()
    assert len(queries) <= 10
    assert '<bdi>ServerError: GET /v1/customers/…/state: 502</bdi></td><td class="polar-number">300</td>' in page
    assert "Only the first 100 are shown" in page
    assert page.count("not yet") == 100


def test_parts_hold_no_script_and_no_style(viewer: Client, organization: Organization) -> None:
    run = SyncRun.objects.create(organization=organization)
    parts = json.dumps(viewer.get(f"{LIST}{run.pk}/live.json").json())
    assert "<script" not in parts
    assert "style=" not in parts
