"""Archived meters, which states keep and lists show only where they are named."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from polar_sync.models import Customer, Meter, MeterDefinition
from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.states.conftest import Run, find_differences

pytestmark = pytest.mark.django_db(transaction=True)
WITHOUT_METERS = ("customers:read", "subscriptions:read", "benefits:read", "customer_meters:read")


def get_naming(polar: FakePolar) -> list[set[str]]:
    """The meters that each request for customers' meters named, where it named any."""
    asked = [parse_qsl(one.query) for one in polar.requests if one.path == "/v1/customer-meters/"]
    named = [{value for name, value in query if name == "meter_id"} for query in asked]
    return [each for each in named if each]


def test_archived_meters_are_mirrored_from_lists(polar: FakePolar, run: Run) -> None:
    archived = [meter["id"] for meter in polar.meters[:2]]
    for meter_id in archived:
        polar.archive_meter(meter_id)
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "batched", [])
    assert Meter.objects.filter(meter_id__in=archived).exists()
    assert "meter:archived" in ended.state_fields["confirmed"]
    assert get_naming(polar) == [set(archived)] * 2, "one request for up to a hundred of 130 customers"
    assert run("auto").unchanged == 130


def test_nobody_asks_for_archived_meters_where_there_are_none(polar: FakePolar, run: Run) -> None:
    run("auto")
    run("auto")
    assert get_naming(polar) == []
    asked = [one.query for one in polar.requests if one.path == "/v1/meters/"]
    assert len(asked) == 2
    assert all("is_archived=true" in query for query in asked)


def test_more_archived_meters_than_fit_one_address_are_named_in_several(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.states.rules._MAX_IDS", 2)
    for meter in polar.meters:
        polar.archive_meter(meter["id"])
    ended = run("auto")
    assert (ended.source, find_differences(polar)) == ("batched", [])
    assert {len(each) for each in get_naming(polar)} == {1, 2}


def test_those_that_the_mirror_knows_are_asked_for_without_the_scope_for_meters(polar: FakePolar, run: Run) -> None:
    archived = polar.meters[0]["id"]
    polar.archive_meter(archived)
    token = polar.create_token(scopes=WITHOUT_METERS)
    run("per_customer", token=token)
    assert not MeterDefinition.objects.filter(pk=archived).exists()
    Customer.all_objects.filter(pk__in=Meter.objects.filter(meter_id=archived).values("customer")[:3]).delete()
    ended = run("auto", token=token)
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "batched", [])
    assert archived in set().union(*get_naming(polar))


def test_those_that_nobody_knows_are_found_by_samples(polar: FakePolar, run: Run) -> None:
    for meter in polar.meters:
        polar.archive_meter(meter["id"])
    ended = run("auto", token=polar.create_token(scopes=WITHOUT_METERS))
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "per_customer", [])
    assert "is only in the state" in ended.source_note


def test_meter_that_is_archived_while_the_mirror_knows_it_as_living_stays(polar: FakePolar, run: Run) -> None:
    token = polar.create_token(scopes=WITHOUT_METERS)
    run("auto", token=token)
    meter_id = polar.meters[0]["id"]
    before = Meter.objects.filter(meter_id=meter_id).count()
    polar.archive_meter(meter_id)
    ended = run("auto", token=token)
    assert (ended.source, find_differences(polar)) == ("batched", [])
    assert Meter.objects.filter(meter_id=meter_id).count() == before > 0
    assert MeterDefinition.objects.get(pk=meter_id).is_archived


@pytest.mark.parametrize("is_archived", [True, False])
def test_meter_that_is_on_no_list_leaves_once_a_request_that_names_it_has_not_shown_it(
    polar: FakePolar, run: Run, is_archived: bool
) -> None:
    meter_id = polar.meters[0]["id"]
    if is_archived:
        polar.archive_meter(meter_id)
    run("auto")
    gone = [str(each) for each in Meter.objects.filter(meter_id=meter_id)[:3].values_list("pk", flat=True)]
    for customer_id in polar.customers:
        state = polar.get_state(customer_id)
        kept = [each for each in state["active_meters"] if each["id"] not in gone]
        polar.replace_state(customer_id, {**state, "active_meters": kept})
    polar.requests.clear()
    ended = run("auto")
    assert (ended.status, ended.source, find_differences(polar)) == ("succeeded", "batched", [])
    assert not Meter.objects.filter(pk__in=gone).exists()
    assert {meter_id} in get_naming(polar)
    polar.requests.clear()
    run("auto")
    assert bool(get_naming(polar)) == is_archived


def test_meter_stays_where_the_request_that_names_it_fails(polar: FakePolar, run: Run) -> None:
    run("auto")
    before = Meter.objects.count()
    polar.archive_meter(polar.meters[0]["id"])
    polar.faults.add(Fault(operation="meters:list", kind="bare_404", times=None))
    lists = len(polar.customers) // 100 + 3
    polar.faults.add(Fault(operation="customer-meters:list", kind="server_error", after=lists, times=4))
    ended = run("auto")
    assert (ended.status, find_differences(polar)) == ("succeeded", [])
    assert Meter.objects.count() == before
