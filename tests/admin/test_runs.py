"""The list of runs, and what a run's page shows while the run goes."""

import json
from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.admin.run_page import get_share
from polar_sync.models import CustomerObservation, Organization, SyncFailure, SyncRun
from tests.factories import apply_states, build_state, make_id, make_uuid, read_at

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
    for text in ("Customers failed", "1,200", ">200<", "4,321", "1 min 15 s", "25.0 %", ">+1,000<"):
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
    assert "Customers failed" in last["parts"]["status"]
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
    assert page.count("Not yet") == 100


@pytest.mark.parametrize(("status", "bars"), [("running", 1), ("failed", 0)])
def test_bar_without_a_share_moves_only_while_the_run_goes(
    viewer: Client, organization: Organization, status: str, bars: int
) -> None:
    run = SyncRun.objects.create(organization=organization, status=status)
    assert viewer.get(f"{LIST}{run.pk}/change/").content.decode().count("<progress>") == bars


def test_retry_is_offered_while_a_failed_customer_is_left(operator: Client, organization: Organization) -> None:
    run = SyncRun.objects.create(organization=organization, status="partial", failed=3)
    page, door = f"{LIST}{run.pk}/live.json", f"{LIST}{run.pk}/retry/"
    for name in (make_id("one"), make_id("two"), "(no id) abc"):
        SyncFailure.objects.create(run=run, customer_id=name, reason="?")
    apply_states(organization, build_state("one"), build_state("two"), interval=read_at(0))
    answers = CustomerObservation.objects.order_by("pk")
    answers.update(answered_at=run.started_at - timedelta(seconds=1))
    assert "/retry/" in operator.get(page).json()["parts"]["tools"]
    answers.filter(pk=make_uuid("one")).update(answered_at=run.started_at + timedelta(seconds=1))
    assert "/retry/" in operator.get(page).json()["parts"]["tools"]
    answers.update(answered_at=run.started_at + timedelta(seconds=1))
    assert "/retry/" not in operator.get(page).json()["parts"]["tools"], "the one that is left has no id to ask for"
    assert "nothing to retry" in str(list(get_messages(operator.post(door).wsgi_request))[-1])


@pytest.mark.parametrize("is_left", [True, False])
def test_customers_that_are_left_are_looked_for_among_all(
    operator: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch, is_left: bool
) -> None:
    monkeypatch.setattr("polar_sync.admin.run_page.READ_FAILURES", 4)
    run = SyncRun.objects.create(organization=organization, status="partial", failed=9)
    SyncFailure.objects.bulk_create(SyncFailure(run=run, customer_id=make_id(n), reason="?") for n in range(9))
    apply_states(organization, *map(build_state, range(9)), interval=read_at(0))
    CustomerObservation.objects.update(answered_at=run.started_at + timedelta(seconds=1))
    if is_left:
        CustomerObservation.objects.filter(pk=make_uuid(8)).update(answered_at=None)
    tools = operator.get(f"{LIST}{run.pk}/live.json").json()["parts"]["tools"]
    assert ("/retry/" in tools) == is_left


def test_parts_hold_no_script_and_no_style(viewer: Client, organization: Organization) -> None:
    run = SyncRun.objects.create(organization=organization)
    parts = json.dumps(viewer.get(f"{LIST}{run.pk}/live.json").json())
    assert "<script" not in parts
    assert "style=" not in parts
