"""Lists that fail or mislead: nobody is lost, nobody is marked deleted, and the requests stay bounded."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, CustomerObservation
from polar_sync.sync.fetching import commit_page
from polar_sync.sync.leases import claim_pages
from polar_sync.sync.page_results import PageResult
from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.states.conftest import Run, find_differences

pytestmark = pytest.mark.django_db(transaction=True)
LISTS = ["subscriptions:list", "benefit-grants:list", "customer-meters:list"]


def answer(polar: FakePolar, operation: str, value: Any, *, status: int = 200, times: int | None = None) -> None:
    body = json.dumps(value).encode()
    polar.faults.add(Fault(operation=operation, kind="server_error", status=status, body=body, times=times))


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize(
    ("status", "error"),
    [(404, {"error": "ResourceNotFound", "detail": "Not found"}), (404, {"detail": "Not Found"}), (414, {}), (422, {})],
)
def test_list_that_is_refused_says_nothing_about_its_customers(
    polar: FakePolar, run: Run, operation: str, status: int, error: Any
) -> None:
    answer(polar, operation, error, status=status)
    ended = run()
    assert (ended.status, ended.failed, Customer.objects.count()) == ("succeeded", 0, 130)
    assert find_differences(polar) == []


@pytest.mark.parametrize("operation", LISTS)
def test_list_that_always_breaks_fails_nobody_whose_state_can_be_had(
    polar: FakePolar, run: Run, operation: str
) -> None:
    polar.faults.add(Fault(operation=operation, kind="server_error", status=500, times=None))
    ended = run()
    assert (ended.status, ended.failed) == ("succeeded", 0)
    assert find_differences(polar) == []


@pytest.mark.parametrize("total", [1, 101, 10**12])
def test_lists_that_never_are_whole_cost_little_more_than_asking_one_by_one(
    polar: FakePolar, run: Run, total: int
) -> None:
    for operation in LISTS:
        answer(polar, operation, {"items": [], "pagination": {"total_count": total, "max_page": 1}})
    ended = run()
    assert (ended.status, find_differences(polar)) == ("succeeded", [])
    assert ended.requests <= 3 * 130


def test_all_kinds_are_learned_though_no_two_customers_have_them_all(polar: FakePolar, run: Run) -> None:
    arrays = ("active_subscriptions", "granted_benefits", "active_meters")
    for number, customer_id in enumerate(polar.customers):
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        polar.replace_state(customer_id, {**state, **{name: [] for name in arrays if name != arrays[number % 3]}})
    for kind in ("subscription", "subscription_meter", "grant", "meter", "customer"):
        polar.add_field(kind, "added", {"deep": [1, None]}, where="both")
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("batched", [])


def test_change_far_in_the_future_does_not_keep_out_all_that_follows(polar: FakePolar, run: Run) -> None:
    for customer_id in polar.customers:
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        for name in ("active_subscriptions", "granted_benefits", "active_meters"):
            for item in state[name]:
                item["modified_at"] = "2099-01-01T00:00:00Z"
        polar.replace_state(customer_id, state)
        polar.set_other_subscriptions(customer_id, [])
    run()
    assert not CustomerObservation.objects.filter(state_observed_at__year=2099).exists()
    for customer_id in polar.customers:
        state = json.loads(json.dumps(polar.get_state(customer_id)))
        polar.replace_state(customer_id, {**state, "active_subscriptions": []})
    run()
    assert find_differences(polar) == []


def test_names_are_written_before_the_run_is_locked(run: Run) -> None:
    """In one order in all workers, or two of them can wait for each other: failures lock the run."""
    run()
    begun = sync.begin_run(polar_settings.get_organization("default"))
    [page] = claim_pages(begun.pk)
    assert page is not None
    found = {("product", key): {"id": key, "name": "New"} for key in [str(uuid4())]}
    with CaptureQueriesContext(connection) as queries:
        commit_page(begun, page, PageResult(page, failures={"x": "broken"}), catalogue=found)
    texts = [query["sql"] for query in queries]
    named, locked = (
        next(number for number, text in enumerate(texts) if text.startswith(start))
        for start in ('INSERT INTO "polar_sync_product"', 'INSERT INTO "polar_sync_syncfailure"')
    )
    assert named < locked


def test_token_that_is_refused_at_the_samples_writes_no_state_without_what_polar_added(
    polar: FakePolar, run: Run
) -> None:
    polar.add_field("subscription", "added", 1, where="both")
    run("auto")
    polar.faults.add(Fault(operation="customers:get_state", kind="unauthorized", times=None))
    ended = run("auto")
    assert (ended.status, ended.reason, ended.updated) == ("failed", "authentication", 0)
    assert find_differences(polar) == []
