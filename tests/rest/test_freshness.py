"""Every answer of mirrored data tells its age; who has it already gets 304 without the children being read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.payloads import STATE_AGE
from polar_sync.store.observations import REPLICA_LAG
from tests.factories import (
    apply_customers,
    apply_states,
    at,
    build_customer,
    build_full_state,
    build_state,
    make_id,
    read_at,
)

pytestmark = pytest.mark.django_db
LIST = "/polar/v1/customers/"
GET = f"/polar/v1/customers/{make_id('a')}"
PATHS = [
    *(LIST, GET, f"{GET}/state", "/polar/v1/customers/external/usr_a", "/polar/v1/customers/external/usr_a/state"),
    *("/polar/v1/subscriptions/", "/polar/v1/benefit-grants/", "/polar/v1/meters/"),
    f"/polar/v1/subscriptions/{make_id('subscription a.0')}",
]


@pytest.fixture
def full(organization: Organization) -> Organization:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    return organization


@pytest.mark.parametrize("path", PATHS)
def test_answer_tells_its_age(full: Organization, api: Client, path: str) -> None:
    answer = api.get(path)
    assert datetime.fromisoformat(answer["X-Polar-Observed-At"]) == at(0) - STATE_AGE
    changed = Customer.objects.get().synced_at
    assert changed is not None
    assert abs(parsedate_to_datetime(answer["Last-Modified"]) - changed) <= timedelta(seconds=1)
    assert answer["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Cookie"} <= {name.strip() for name in answer["Vary"].split(",")}


@pytest.mark.parametrize("path", PATHS)
def test_copy_that_is_still_good_is_not_sent_again(full: Organization, api: Client, path: str) -> None:
    answer = api.get(path)
    again = api.get(path, headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == answer["ETag"]
    assert again["X-Polar-Observed-At"] == answer["X-Polar-Observed-At"]
    apply_states(full, build_full_state("a", version=1), interval=read_at(1))
    fresh = api.get(path, headers={"If-None-Match": answer["ETag"]})
    assert fresh.status_code == 200
    assert fresh["ETag"] != answer["ETag"]


def test_confirmation_without_a_change_keeps_the_copy_good(full: Organization, api: Client) -> None:
    etag = api.get(f"{GET}/state")["ETag"]
    apply_states(full, build_full_state("a"), interval=read_at(5))
    again = api.get(f"{GET}/state", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert datetime.fromisoformat(again["X-Polar-Observed-At"]) == at(5) - STATE_AGE


def test_children_are_not_read_for_a_304(full: Organization, api: Client) -> None:
    etag = api.get(f"{GET}/state")["ETag"]
    with CaptureQueriesContext(connection) as queries:
        api.get(f"{GET}/state", headers={"If-None-Match": etag})
    assert not [one for one in queries if "polar_sync_subscription" in one["sql"] or "polar_sync_meter" in one["sql"]]


def test_get_and_state_are_not_taken_for_each_other(full: Organization, api: Client) -> None:
    assert api.get(f"{GET}/state", headers={"If-None-Match": api.get(GET)["ETag"]}).status_code == 200


def test_state_is_as_old_as_its_oldest_part(full: Organization, api: Client) -> None:
    apply_customers(full, build_customer("a", name="New"), interval=read_at(9))
    assert datetime.fromisoformat(api.get(GET)["X-Polar-Observed-At"]) == at(9) - REPLICA_LAG
    assert datetime.fromisoformat(api.get(f"{GET}/state")["X-Polar-Observed-At"]) == at(0) - STATE_AGE


def test_list_is_as_old_as_its_oldest_row(full: Organization, api: Client) -> None:
    apply_states(full, build_state("b"), interval=read_at(7))
    assert datetime.fromisoformat(api.get(LIST)["X-Polar-Observed-At"]) == at(0) - STATE_AGE


def test_list_changes_with_who_leaves_it(full: Organization, api: Client) -> None:
    apply_states(full, build_state("b"), interval=read_at(0))
    answer = api.get(LIST)
    Customer.objects.filter(external_id="usr_b").delete()
    by_date = api.get(LIST, headers={"If-Modified-Since": answer["Last-Modified"]})
    assert by_date.status_code == 200
    assert api.get(LIST, headers={"If-None-Match": answer["ETag"]}).status_code == 200


def test_empty_list_is_as_old_as_the_last_success(organization: Organization, api: Client) -> None:
    Organization.objects.update(last_succeeded_at=at(3))
    assert datetime.fromisoformat(api.get(LIST)["X-Polar-Observed-At"]) == at(3)


def test_second_change_within_one_second_is_not_missed_by_date(full: Organization, api: Client) -> None:
    first = datetime.now(UTC).replace(microsecond=100_000) - timedelta(seconds=2)
    Customer.objects.update(synced_at=first)
    shown = api.get(GET)["Last-Modified"]
    Customer.objects.update(synced_at=first + timedelta(milliseconds=500))
    assert api.get(GET, headers={"If-Modified-Since": shown}).status_code == 200


def test_change_at_rest_is_recognized_by_date(full: Organization, api: Client) -> None:
    Customer.objects.update(synced_at=datetime.now(UTC) - timedelta(hours=1))
    shown = api.get(GET)["Last-Modified"]
    assert api.get(GET, headers={"If-Modified-Since": shown}).status_code == 304
    Customer.objects.update(synced_at=datetime.now(UTC))
    assert api.get(GET, headers={"If-Modified-Since": shown}).status_code == 200


@pytest.mark.parametrize("count", [10, 1000])
def test_statements_do_not_grow_with_the_mirror(organization: Organization, api: Client, count: int) -> None:
    states = [build_full_state("a", children=5), *(build_state(number) for number in range(count - 1))]
    for start in range(0, count, 200):
        apply_states(organization, *states[start : start + 200], interval=read_at(0))
    assert CustomerObservation.objects.count() == count
    for path in (f"{LIST}?limit=100", f"{GET}/state", "/polar/v1/subscriptions/?limit=100"):
        with CaptureQueriesContext(connection) as queries:
            assert api.get(path).status_code == 200
        # One of them finds the token's user and permissions.
        assert len(queries) <= (5 if "subscriptions" in path else 3), [one["sql"] for one in queries]
