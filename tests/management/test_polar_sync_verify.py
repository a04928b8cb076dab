"""`polar_sync_verify`: what it finds, prints, repairs and exits with."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from pytest_django import Settings

from polar_sync.models import BenefitGrant, Customer, CustomerObservation, Meter, Subscription, Verification
from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.testing.faults import Fault
from polar_sync.testing.http import format_timestamp

pytestmark = pytest.mark.django_db(transaction=True)
CUSTOMERS = 30


@pytest.fixture
def polar(polar_server: FakePolarServer) -> FakePolar:
    """Mirrored three hours ago."""
    polar = polar_server.polar
    polar.generate_customers(CUSTOMERS, seed=5)
    call_command("polar_sync", stdout=StringIO(), stderr=StringIO())
    polar.clock_offset += timedelta(hours=3)
    polar.requests.clear()
    return polar


def verify(*arguments: str, expected: int = 0) -> str:
    output = StringIO()
    with pytest.raises(SystemExit) if expected else nullcontext() as raised:
        call_command("polar_sync_verify", *arguments, stdout=output, stderr=output)
    assert raised is None or raised.value.code == expected
    return output.getvalue()


def verify_json(*arguments: str, expected: int = 0) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(verify(*arguments, "--json", expected=expected))
    return line


def get_asked(polar: FakePolar) -> list[str]:
    return [request.path.split("/")[3] for request in polar.requests if request.path.endswith("/state")]


def test_mirror_that_is_what_polar_says_differs_in_nothing(polar: FakePolar) -> None:
    text = verify("--all")
    assert text.startswith(f"default: {CUSTOMERS} customers compared, 0 differ;")
    kept = Verification.objects.get()
    assert (kept.checked, kept.differing, kept.contradictions, kept.is_equal) == (CUSTOMERS, 0, 0, True)


def test_each_field_that_differs_is_printed_and_counted_by_kind(polar: FakePolar) -> None:
    subscription = Subscription.objects.filter(is_in_state=True)[0]
    payload = json.loads(subscription.payload)
    Subscription.objects.filter(pk=subscription.pk).update(payload=json.dumps({**payload, "amount": 999}))
    Meter.objects.filter(pk=Meter.objects.all()[0].pk).delete()
    customer = Customer.objects.exclude(pk=subscription.customer_id)[0]
    name = json.loads(customer.payload) | {"name": "Somebody else"}
    Customer.objects.filter(pk=customer.pk).update(payload=json.dumps(name))
    text = verify("--all", expected=1)
    assert f"subscription {subscription.pk}.amount is 999 in the mirror and {payload['amount']} in Polar" in text
    assert f'customer {customer.pk}.name is "Somebody else" in the mirror and ' in text
    assert "is only in Polar" in text
    line = verify_json("--all", expected=1)
    assert line["counts"] == {"customer": 1, "meter": 1, "subscription": 1}
    assert {(each["kind"], each["field"]) for each in line["differences"]} == {
        ("customer", "name"), ("meter", None), ("subscription", "amount")
    }  # fmt: skip
    amount = next(each for each in line["differences"] if each["field"] == "amount")
    assert (amount["mirror"], amount["polar"], amount["verdict"]) == (999, payload["amount"], "contradiction")
    kept = Verification.objects.get()
    assert not kept.is_equal
    assert "Somebody else" not in json.dumps(kept.examples)


def test_repair_mirrors_the_present_state(polar: FakePolar) -> None:
    BenefitGrant.objects.filter(pk=BenefitGrant.objects.all()[0].pk).delete()
    Subscription.objects.filter(is_in_state=True).update(payload=F("payload"), status="canceled")
    Meter.objects.filter(pk=Meter.objects.all()[0].pk).update(payload='{"id":"x"}')
    assert "(repaired)" in verify("--all", "--repair")
    kept = Verification.objects.get()
    assert kept.repaired == kept.differing > 0
    assert verify_json("--all")["differing"] == 0


def test_what_changed_within_the_hour_is_no_difference(polar: FakePolar) -> None:
    polar.update_customer(polar.customers[0], name="Ada")
    customer_id = next(key for key in polar.customers[1:] if polar.get_state(key)["active_meters"])
    state = polar.get_state(customer_id)
    modified_at = format_timestamp(polar.now() - timedelta(minutes=20))
    meters = [{**each, "consumed_units": 7, "modified_at": modified_at} for each in state["active_meters"]]
    polar.replace_state(customer_id, {**state, "active_meters": meters})
    line = verify_json("--all")
    assert (line["differing"], line["unproven"]) == (0, 1 + len(meters))
    polar.clock_offset += timedelta(hours=2)
    assert verify_json("--all", expected=1)["differing"] == 2


def test_state_that_polar_stored_before_an_end_is_no_difference(polar: FakePolar) -> None:
    """The mirror has heard of it; the state endpoint goes on showing the subscription for up to an hour."""
    key = next(key for key in polar.customers if len(polar.get_state(key)["active_subscriptions"]) == 1)
    [subscription] = polar.get_state(key)["active_subscriptions"]
    ended = {**subscription, "status": "canceled", "modified_at": format_timestamp(polar.now())}
    Subscription.objects.filter(pk=subscription["id"]).delete()
    polar.set_listed(key, "subscription", [ended])
    assert verify_json("--all")["differing"] == 0
    polar.set_listed(key, "subscription", [subscription])
    assert verify_json("--all", expected=1)["counts"] == {
        "subscription": 1, **({"subscription_meter": len(subscription["meters"])} if subscription["meters"] else {})
    }  # fmt: skip


def test_customers_who_live_on_one_side_only_differ_and_are_repaired(polar: FakePolar) -> None:
    gone, revived, unknown = polar.customers[:3]
    two_hours_ago = polar.now() - timedelta(hours=2)
    CustomerObservation.objects.filter(customer=UUID(revived)).update(absent_at=two_hours_ago)
    Customer.all_objects.filter(pk=revived).update(deleted_at=two_hours_ago)
    polar.delete_customer(gone)
    Customer.all_objects.filter(pk=unknown).delete()
    line = verify_json("--all", expected=1)
    found = {each["customer"]: each for each in line["differences"]}
    assert found.keys() == {gone, revived, unknown}
    assert "polar" not in found[gone]
    assert all("mirror" not in found[key] for key in (revived, unknown))
    assert verify("--all", "--repair").count("(repaired)") == 3
    assert living() == set(polar.customers)


def living() -> set[str]:
    return {str(each) for each in Customer.objects.values_list("pk", flat=True)}


def test_sample_is_of_those_whose_state_was_confirmed_least_recently(polar: FakePolar) -> None:
    call_command("polar_sync", "--customer", polar.customers[0], stdout=StringIO())
    assert polar.customers[0] in get_asked(polar)
    polar.requests.clear()
    line = verify_json("--sample", str(CUSTOMERS - 1))
    assert line["checked"] == CUSTOMERS - 1 == len(get_asked(polar))
    assert polar.customers[0] not in get_asked(polar)


def test_customer_who_cannot_be_asked_about_is_no_success(polar: FakePolar) -> None:
    polar.faults.add(
        Fault(operation="customers:get_state", kind="server_error", customer=polar.customers[3], times=None)
    )
    line = verify_json("--all", expected=1)
    assert (line["checked"], line["failed"], line["differing"]) == (CUSTOMERS, 1, 0)


def test_refused_token_stops_it_and_says_so(polar: FakePolar) -> None:
    polar.faults.add(Fault(operation="customers:get_state", kind="unauthorized", after=5, times=None))
    line = verify_json("--all", expected=1)
    assert "AuthenticationError" in line["reason"]
    assert line["checked"] < CUSTOMERS


def test_what_was_found_is_not_hidden_by_a_verification_that_was_stopped(polar: FakePolar) -> None:
    Customer.objects.filter(pk=polar.customers[0]).update(payload="{}")
    verify("--all", expected=1)
    kept = Verification.objects.values().get()
    assert kept["differing"] == 1
    polar.faults.add(Fault(operation="customers:list", kind="unauthorized", times=None))
    verify("--all", expected=1)
    assert Verification.objects.values().get() == kept


def test_list_is_as_long_as_its_customers_fill_whatever_number_of_pages_it_tells(polar: FakePolar) -> None:
    polar.generate_customers(120, seed=6)
    polar.clock_offset += timedelta(hours=3)
    listed = [polar.get_customer(key) for key in polar.customers]
    body = {"items": listed[:100], "pagination": {"total_count": len(listed), "max_page": 1}}
    polar.faults.add(Fault(operation="customers:list", kind="malformed", body=body, after=1))
    verify("--all", expected=1)
    pages = [parse_qs(request.query)["page"] for request in polar.requests if request.path == "/v1/customers/"]
    assert pages == [["1"], ["1"], ["2"]]


def test_token_of_another_organization_finds_nobody_gone(polar: FakePolar, settings: Settings) -> None:
    other = polar.add_organization(seed=9)
    other.generate_customers(3, seed=9)
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "ACCESS_TOKEN": other.access_token}
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}}
    line = verify_json("--all", "--repair", expected=1)
    assert "OrganizationMismatchError" in line["reason"]
    assert (line["checked"], Customer.objects.count()) == (0, CUSTOMERS)


def test_organization_that_was_never_mirrored_is_a_configuration_error(polar_server: FakePolarServer) -> None:
    with pytest.raises(CommandError, match="Nothing of 'default' is mirrored yet") as raised:
        call_command("polar_sync_verify")
    assert raised.value.returncode == 2


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_sample_is_a_number_of_customers(number: str) -> None:
    with pytest.raises((CommandError, SystemExit)):
        call_command("polar_sync_verify", f"--sample={number}")


def test_state_that_polar_denies_of_a_customer_it_has_is_no_deletion(polar: FakePolar) -> None:
    body = json.dumps({"error": "ResourceNotFound", "detail": "Not found"}).encode()
    polar.faults.add(Fault(operation="customers:get_state", kind="server_error", status=404, body=body, times=None))
    line = verify_json("--all", "--repair", expected=1)
    assert (line["failed"], line["differing"]) == (CUSTOMERS, 0)
    assert living() == set(polar.customers)
