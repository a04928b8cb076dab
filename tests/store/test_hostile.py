"""What Polar, or whoever stands in its place, may send: kept and given back, or refused for that customer alone."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from django.db import connection

from polar_sync.exceptions import OrganizationMismatchError, PayloadError
from polar_sync.models import BenefitGrant, Customer, Meter, Organization, Subscription
from polar_sync.payloads.canonical import MAX_DEPTH
from polar_sync.store import Outcome, apply, observe_absence, observe_state
from tests.factories import (
    apply_absences,
    apply_customers,
    apply_states,
    build_customer,
    build_full_state,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    build_subscription_meter,
    create_organization,
    make_id,
    make_uuid,
    normalize_state,
    read_at,
)
from tests.payloads.test_canonical import nest
from tests.store.support import take_snapshot


def make_random_text(length: int, *, seed: int = 0) -> str:
    """Four bytes a character, and nothing that compresses: the most that an index may be asked to hold."""
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x10000, 0x110000)) for _ in range(length))


LONG = make_random_text(10_000)
TEXTS = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "",
    " ",
    LONG,
    "n" * 10_000,
    "'; DROP TABLE x; --",
    "%s %(a)s {0}",
    "\u202e",
]
HUGE = {str(number): number for number in range(4_000)}
JSON = [
    {"a\x00": "b\x00"},
    {"\ud800": ["\udfff"]},
    {"\x00": 1, "\ufffd": 2},
    {"n": 1e308, "m": -0.0, "s": 5e-324, "i": 10**30, "h": 10**1200},
    HUGE,
    {"": None},
    {LONG: LONG},
    nest(500),
    [1, [2, [3]]],
    "text",
    12,
    0.1,
    False,
]


def check_kept(organization: Organization, *states: dict[str, Any]) -> None:
    """Written with an ordinary customer beside, changed and changed back, and read as they were each time."""
    others = [build_full_state(f"other {number}") for number in range(2)]
    batch = [others[0], *states, others[1]]
    apply_states(organization, *batch, interval=read_at(0))
    connection.check_constraints()
    _check_read(batch)
    apply_states(organization, *[build_state_of(state) for state in batch], interval=read_at(1))
    apply_states(organization, *batch, interval=read_at(2))
    connection.check_constraints()
    _check_read(batch)


def build_state_of(state: dict[str, Any]) -> dict[str, Any]:
    return {**build_state("plain", created_at=None), "id": state["id"]}


def _check_read(states: list[dict[str, Any]]) -> None:
    found = {row.pk: row.state() for row in Customer.all_objects.with_state()}
    for state in states:
        assert normalize_state(found[uuid.UUID(state["id"])]) == normalize_state(state)


def build_filled(value: Any, fields: tuple[str, ...], build: Any) -> dict[str, Any]:
    filled: dict[str, Any] = build("x", **dict.fromkeys(fields, value))
    return filled


CUSTOMER_TEXTS = (
    *("external_id", "email", "type", "name", "billing_name", "locale", "avatar_url", "default_payment_method_id"),
    *("created_at", "modified_at", "deleted_at", "first_user_event_at"),
)
SUBSCRIPTION_TEXTS = (
    *("status", "currency", "recurring_interval", "product_id", "discount_id", "price_id"),
    *("created_at", "current_period_start", "current_period_end", "started_at", "ends_at"),
)
NUMBERS = {
    "subscription": ("amount", "seats", "units"),
    "meter of subscription": ("amount", "consumed_units", "credited_units"),
    "meter": ("consumed_units", "credited_units", "balance"),
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:8]))
def test_any_text_is_kept_in_every_text_field(organization: Organization, text: str) -> None:
    customer = build_filled(text, CUSTOMER_TEXTS, build_customer)
    customer["billing_address"] = dict.fromkeys(("line1", "city", "state", "country"), text)
    subscription = build_filled(text, SUBSCRIPTION_TEXTS, build_subscription)
    subscription["meters"] = [build_subscription_meter("x", meter_id=text)]
    grants = [build_grant("x", benefit_type=text, benefit_id=text, granted_at=text)]
    state = build_state("x", subscriptions=[subscription], grants=grants, meters=[build_meter("x", meter_id=text)])
    check_kept(organization, {**state, **customer, f"unknown {text}": text})


@pytest.mark.parametrize("value", JSON, ids=lambda value: ascii(value)[:12])
def test_any_json_is_kept_in_every_json_field(organization: Organization, value: Any) -> None:
    subscription = build_subscription("x", metadata=value, custom_field_data=value)
    grant = build_grant("x", benefit_metadata=value, properties=value)
    fields = {"metadata": value, "billing_address": value, "tax_id": value, "unknown": value}
    check_kept(organization, build_state("x", subscriptions=[subscription], grants=[grant], **fields))


@pytest.mark.parametrize("value", [one for one in JSON[3:] if one is not HUGE], ids=lambda value: ascii(value)[:12])
def test_any_json_is_kept_where_text_or_a_number_belongs(organization: Organization, value: Any) -> None:
    customer = build_filled(value, (*CUSTOMER_TEXTS, "email_verified"), build_customer)
    customer["billing_address"] = {"country": value}
    subscription = build_filled(value, (*SUBSCRIPTION_TEXTS, *NUMBERS["subscription"]), build_subscription)
    subscription["meters"] = value if not isinstance(value, list) else []
    grant = build_grant("x", benefit_type=value, benefit_id=value)
    check_kept(organization, {**build_state("x", subscriptions=[subscription], grants=[grant]), **customer})


@pytest.mark.parametrize(
    "number",
    [
        0,
        -1,
        2**31,
        -(2**31) - 1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        10**30,
        10**400,
        1e308,
        -1e308,
        -0.0,
        5e-324,
        0.1,
    ],
    ids=lambda number: repr(number)[:8],
)
def test_any_number_is_kept(organization: Organization, number: float) -> None:
    meters = [build_filled(number, NUMBERS["meter of subscription"], build_subscription_meter)]
    subscription = build_filled(number, NUMBERS["subscription"], build_subscription)
    check_kept(
        organization,
        build_state(
            "x",
            subscriptions=[{**subscription, "meters": meters}],
            meters=[build_filled(number, NUMBERS["meter"], build_meter)],
        ),
    )
    amount = Subscription.objects.get(pk=make_uuid("subscription x")).amount
    is_storable = number == int(number) and -(2**63) <= number < 2**63
    assert amount == (int(number) if is_storable else None)
    stored = Meter.objects.get(pk=make_uuid("meter x")).balance
    assert stored == (None if number == 10**400 else float(number))


def test_negative_zero_keeps_its_sign(organization: Organization) -> None:
    apply_states(organization, build_state("x", meters=[build_meter("x", balance=-0.0)]), interval=read_at(0))
    assert str(Customer.objects.get().state()["active_meters"][0]["balance"]) == "-0.0"


@pytest.mark.parametrize("length", [512, 513, 10_000])
@pytest.mark.parametrize("field", ["external_id", "email", "name", "type"])
def test_long_text_is_indexed_in_part_and_kept_whole(organization: Organization, field: str, length: int) -> None:
    text = make_random_text(length)
    apply_customers(organization, build_customer("x", **{field: text}), interval=read_at(0))
    row = Customer.objects.get()
    assert row.to_polar()[field] == text
    assert len(getattr(row, field)) == 512
    assert list(Customer.objects.with_external_id(text)) == ([row] if field == "external_id" else [])


def test_external_ids_that_differ_beyond_what_is_stored_stay_apart(organization: Organization) -> None:
    ids = [LONG, LONG + "x", "a\x00", "a\ufffd", "a\ud800", "A\x00"]
    customers = [build_customer(number, external_id=one) for number, one in enumerate(ids)]
    apply_customers(organization, *customers, interval=read_at(0))
    for number, one in enumerate(ids):
        assert [row.pk for row in Customer.objects.with_external_id(one)] == [make_uuid(number)]


@pytest.mark.parametrize(
    "tax_id",
    [
        None,
        [],
        ["911144442", "us_ein"],
        [None, None],
        ["x", "new_format", 3],
        {"[0]": "9", "[1]": "us_ein"},
        "911144442",
        9,
    ],
)
def test_tax_id_is_kept_in_every_shape(organization: Organization, tax_id: Any) -> None:
    check_kept(organization, build_state("x", tax_id=tax_id))
    assert Customer.objects.get(pk=make_uuid("x")).tax_id == tax_id


def test_null_of_a_json_field_is_the_null_of_the_database(organization: Organization) -> None:
    fields = dict.fromkeys(("metadata", "tax_id", "billing_address"))
    apply_customers(organization, build_customer("x", **fields), interval=read_at(0))
    for name in fields:
        assert Customer.objects.filter(**{f"{name}__isnull": True}).exists()


@pytest.mark.parametrize("array", ["active_subscriptions", "granted_benefits", "active_meters"])
def test_child_of_which_only_the_id_is_known_is_kept(organization: Organization, array: str) -> None:
    bare: dict[str, Any] = {"active_subscriptions": [], "granted_benefits": [], "active_meters": []}
    child = {"id": make_id("child")}
    check_kept(organization, {"id": make_id("x"), **bare, array: [child]})
    assert Customer.objects.get(pk=make_uuid("x")).organization == organization


def test_unknown_words_are_stored_as_they_are(organization: Organization) -> None:
    state = build_state(
        "x",
        subscriptions=[build_subscription("x", status="dormant", recurring_interval="fortnight")],
        grants=[build_grant("x", benefit_type="telepathy")],
        type="robot",
    )
    check_kept(organization, state)
    assert Subscription.objects.filter(status="dormant", recurring_interval="fortnight").exists()
    assert BenefitGrant.objects.filter(benefit_type="telepathy").exists()
    assert not Customer.objects.active().filter(pk=make_uuid("x")).exists()


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-01T00:00:00Z",
        "2025-01-01T00:00:00.123456+05:30",
        "2025-01-01T00:00:00.123456789Z",
        "2025-01-01 00:00:00",
        "2025-01-01",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-14:00",
        "2025-02-30T00:00:00Z",
        "garbage",
        "",
    ],
)
def test_any_timestamp_is_kept(organization: Organization, text: str) -> None:
    times = ("created_at", "modified_at", "first_user_event_at")
    subscription = build_filled(text, ("created_at", "current_period_end", "ends_at", "trial_end"), build_subscription)
    check_kept(organization, {**build_state("x", subscriptions=[subscription]), **dict.fromkeys(times, text)})


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "2027-01-01T00:00:00Z"])
def test_time_of_the_far_future_does_not_hold_against_what_is_said_later(organization: Organization, text: str) -> None:
    apply_states(organization, build_state("x", modified_at=text), interval=read_at(0))
    result = apply_states(organization, build_state("x", name="later"), interval=read_at(1))
    assert result.outcomes == {make_uuid("x"): Outcome.UPDATED}


@pytest.mark.parametrize(
    "state",
    [
        None,
        "state",
        [],
        12,
        {},
        {**build_state("x"), "id": "?"},
        {**build_state("x"), "active_meters": None},
        build_state("x", grants=[None]),
        build_state("x", metadata=nest(MAX_DEPTH + 1)),
        build_state("x", grants=[build_grant("x", properties={"k": float("inf")})]),
    ],
    ids=lambda state: str(state)[:12],
)
def test_state_that_cannot_be_kept_is_refused_alone(organization: Organization, state: Any) -> None:
    with pytest.raises(PayloadError):
        observe_state(state, interval=read_at(0))
    apply_states(organization, *map(build_full_state, range(3)), interval=read_at(0))
    assert Customer.objects.count() == 3


def test_ids_that_come_twice_in_one_state_are_kept_once(organization: Organization) -> None:
    meter = build_subscription_meter("m")
    state = build_state(
        "x",
        subscriptions=[build_subscription(one, meters=[meter, meter]) for one in ("s", "t", "s")],
        grants=[build_grant("g"), build_grant("g", benefit_type="z")],
        meters=[build_meter("m"), build_meter("m")],
    )
    result = apply_states(organization, state, build_full_state("other"), interval=read_at(0))
    assert result.outcomes[make_uuid("x")] == Outcome.CREATED
    found = Customer.objects.get(pk=make_uuid("x")).state()
    assert len(found["active_subscriptions"]) == 2
    assert sum(len(one["meters"]) for one in found["active_subscriptions"]) == 1
    assert len(found["granted_benefits"]) == len(found["active_meters"]) == 1
    before = take_snapshot()
    for array in ("active_subscriptions", "granted_benefits", "active_meters"):
        state[array].reverse()
    assert apply_states(organization, state, interval=read_at(0)).outcomes == {make_uuid("x"): Outcome.UNCHANGED}
    assert take_snapshot() == before


def test_one_id_in_two_states_of_a_batch_goes_to_one_customer(organization: Organization) -> None:
    shared = build_grant("g")
    apply_states(
        organization, build_state("a", grants=[shared]), build_state("b", grants=[shared]), interval=read_at(0)
    )
    assert BenefitGrant.objects.count() == 1


def test_two_customers_may_carry_one_external_id(organization: Organization) -> None:
    gone = build_customer("old", external_id="usr_1", deleted_at="2025-06-01T00:00:00Z")
    apply_customers(organization, gone, build_customer("new", external_id="usr_1"), interval=read_at(0))
    assert [row.pk for row in Customer.objects.with_external_id("usr_1")] == [make_uuid("new")]
    assert Customer.all_objects.with_external_id("usr_1").count() == 2
    assert not Customer.objects.with_external_id("USR_1").exists()


# --- Organizations -----------------------------------------------------------------------------------------------

OTHER = make_uuid("other organization")


def test_customer_of_another_organization_is_refused_before_anything_is_written(organization: Organization) -> None:
    states = [build_full_state("a"), build_full_state("b") | {"organization_id": str(OTHER)}]
    with pytest.raises(OrganizationMismatchError, match=str(OTHER)):
        apply_states(organization, *states, interval=read_at(0))
    assert not Customer.all_objects.exists()


def test_organization_that_is_not_known_yet_is_refused(organization: Organization) -> None:
    organization.polar_id = None
    with pytest.raises(OrganizationMismatchError, match="default"):
        apply_states(organization, build_full_state("a"), interval=read_at(0))


@pytest.mark.parametrize("organization_id", [None, "?", str(OTHER)])
def test_customer_mirrored_for_one_organization_is_not_taken_by_another(
    organization: Organization, organization_id: str | None
) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    other = create_organization("other", polar_id=OTHER)
    with pytest.raises(OrganizationMismatchError, match=str(make_uuid("a"))):
        apply_states(other, build_full_state("a") | {"organization_id": organization_id}, interval=read_at(1))
    assert Customer.objects.get().organization_id == organization.polar_id


def test_absence_said_to_one_organization_deletes_nobody_of_another(organization: Organization) -> None:
    """To a token of another organization, Polar says of everybody that there is no such customer."""
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    other = create_organization("other", polar_id=OTHER)
    with pytest.raises(OrganizationMismatchError):
        apply_absences(other, "a", interval=read_at(1))
    assert Customer.objects.active().exists()


def test_absence_of_somebody_unknown_is_remembered_but_not_reported(organization: Organization) -> None:
    words = [
        observe_absence(make_uuid("x"), interval=read_at(0)),
        observe_state(build_full_state("a"), interval=read_at(0)),
    ]
    result = apply(words, organization=organization)
    assert result.outcomes.keys() == result.records.keys() == {make_uuid("a")}
    assert {change.customer_id for change in result.changes} == {make_uuid("a")}
    assert Customer.all_objects.get(pk=make_uuid("x")).to_polar().keys() == {"id", "deleted_at"}
