"""Runs, refreshes and the state of affairs over REST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks

from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, CustomerObservation, Organization, SyncRun
from polar_sync.sync import begin_run
from polar_sync.testing import FakePolarServer, Fault
from project.celery import app
from tests.factories import at
from tests.rest.conftest import mirror

pytestmark = pytest.mark.django_db
RUNS = "/polar/v1/sync/runs/"


@pytest.fixture
def eager_celery() -> Iterator[None]:
    """Celery's messages are worked on where they are sent."""
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    yield
    app.conf.update(task_always_eager=False, task_eager_propagates=False)


def post(api: Client, path: str, body: Any = None) -> Any:
    return api.post(path, data=body if body is not None else {}, content_type="application/json")


def test_run_is_started_and_looked_at(
    steering_api: Client,
    polar_server: FakePolarServer,
    eager_celery: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    polar_server.polar.generate_customers(3)
    with django_capture_on_commit_callbacks(execute=True):
        started = post(steering_api, RUNS, {"organization": "default"})
    assert started.status_code == 202
    assert started.json()["status"] == "running"
    run = steering_api.get(started["Location"]).json()
    assert (run["status"], run["listed"], run["created"], run["failures"]) == ("succeeded", 3, 3, [])
    listed = steering_api.get(f"{RUNS}?status=succeeded&organization=default").json()
    assert [item["id"] for item in listed["items"]] == [run["id"]]
    assert listed["pagination"] == {"total_count": 1, "max_page": 1}
    assert steering_api.get(f"{RUNS}?status=failed").json()["items"] == []
    assert steering_api.get("/polar/v1/customers/").json()["pagination"]["total_count"] == 3


def test_second_run_is_refused_and_the_first_can_be_cancelled(
    steering_api: Client, polar_server: FakePolarServer
) -> None:
    run = begin_run(polar_settings.get_organization("default"))
    refused = post(steering_api, RUNS)
    assert refused.status_code == 409
    assert refused.json()["error"] == "RunActive"
    assert refused.json()["run"] == run.pk
    cancelled = post(steering_api, f"{RUNS}{run.pk}/cancel")
    assert cancelled.status_code == 200
    assert (cancelled.json()["status"], cancelled.json()["reason"]) == ("failed", "cancelled")
    again = post(steering_api, f"{RUNS}{run.pk}/cancel")
    assert (again.status_code, again.json()["error"]) == (409, "RunEnded")


@pytest.mark.parametrize(
    "body",
    [
        {"organization": "nobody"},
        {"organization": 5},
        {"is_mass_deletion_allowed": "yes"},
        {"more": 1},
        [],
        "x",
        5,
        None,
    ],
)
def test_start_of_nothing_sensible_is_refused(steering_api: Client, polar_server: FakePolarServer, body: Any) -> None:
    answer = steering_api.post(RUNS, data=json.dumps(body), content_type="application/json")
    assert answer.status_code == 422
    assert not SyncRun.objects.exists()


@pytest.mark.parametrize(("path", "status"), [("x", 422), ("0", 422), ("1", 404), ("9" * 30, 404)])
def test_run_that_there_is_not(steering_api: Client, path: str, status: int) -> None:
    assert steering_api.get(f"{RUNS}{path}").status_code == status
    assert post(steering_api, f"{RUNS}{path}/cancel").status_code == status


def test_refresh_asks_polar_and_answers_the_fresh_state(steering_api: Client, polar_server: FakePolarServer) -> None:
    polar = polar_server.polar
    polar.generate_customers(1)
    mirror(polar)
    customer = next(iter(polar.customers))
    polar.update_customer(customer, name="Brand new")
    polar.reset_counts()
    answer = post(steering_api, f"/polar/v1/customers/{customer}/refresh")
    assert answer.status_code == 200, answer.content
    assert answer.json()["name"] == "Brand new"
    assert "active_subscriptions" in answer.json()
    assert polar.counts["customers:get_state"] == 1
    assert Customer.objects.get().name == "Brand new"


def test_refresh_of_a_customer_deleted_meanwhile(steering_api: Client, polar_server: FakePolarServer) -> None:
    polar = polar_server.polar
    polar.generate_customers(2)
    mirror(polar)
    customer = next(iter(polar.customers))
    polar.delete_customer(customer)
    CustomerObservation.objects.update(observed_at=at(0), state_observed_at=at(0))
    answer = post(steering_api, f"/polar/v1/customers/{customer}/refresh")
    assert (answer.status_code, answer.json()["error"]) == (404, "ResourceNotFound")
    assert str(Customer.objects.get().pk) != customer


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind="unauthorized", times=None), 502),
        (Fault(kind="malformed", times=None), 502),
        (Fault(kind="rate_limit", times=None, retry_after=60), 429),
        (Fault(kind="bare_404", times=None), 502),
    ],
)
def test_polars_trouble_is_told_without_a_token(
    steering_api: Client, polar_server: FakePolarServer, fault: Fault, status: int
) -> None:
    polar = polar_server.polar
    polar.generate_customers(1)
    mirror(polar)
    polar.faults.add(fault)
    answer = post(steering_api, f"/polar/v1/customers/{next(iter(polar.customers))}/refresh")
    assert answer.status_code == status
    assert polar.access_token not in answer.content.decode() + str(answer.headers)
    assert polar_server.url not in answer.content.decode()
    if status == 429:
        assert answer.content == b""
        assert 0 < int(answer["Retry-After"]) <= 60


def test_status_tells_of_every_organization(
    steering_api: Client, polar_server: FakePolarServer, django_user_model: Any
) -> None:
    polar_server.polar.generate_customers(4)
    row = mirror(polar_server.polar)
    SyncRun.objects.create(organization=row, status="partial", reason="customers_failed", failed=2, finished_at=at(0))
    SyncRun.objects.create(organization=row)
    Organization.objects.filter(pk=row.pk).update(last_succeeded_at=at(0))
    Organization.objects.create(name="fresh", server="sandbox")
    items = {item["organization"]: item for item in steering_api.get("/polar/v1/sync/status").json()["items"]}
    status = items["default"]
    assert status["last_succeeded_at"] == "2026-01-01T00:00:00Z"
    assert status["age_seconds"] > 0
    assert (status["customers"], status["failed_customers"]) == (4, 2)
    assert (status["last_run"]["status"], status["last_run"]["reason"]) == ("partial", "customers_failed")
    CustomerObservation.objects.update(state_observed_at=at(-1e6))
    stale = steering_api.get("/polar/v1/sync/status?stale_after=3600").json()["items"][0]
    assert stale["stale_customers"] == 4
    assert items["fresh"]["customers"] == 0
    assert items["fresh"]["age_seconds"] is items["fresh"]["last_run"] is None
    assert steering_api.get("/polar/v1/sync/status?stale_after=0").status_code == 422
    assert steering_api.get(f"/polar/v1/sync/status?stale_after={10**12}").status_code == 422


def test_balance_is_asked_of_polar_whose_absence_is_said(steering_api: Client, polar_server: FakePolarServer) -> None:
    polar_server.polar.generate_customers(1)
    mirror(polar_server.polar)
    path = f"/polar/v1/customers/{next(iter(polar_server.polar.customers))}/balance"
    gone = steering_api.get(path)
    assert (gone.status_code, gone.json()) == (404, {"detail": "Not Found"})
    assert "no longer has the balance" in gone["X-Polar-Sync-Reason"]
