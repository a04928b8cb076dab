from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from polar_sync.testing import FakePolar
from polar_sync.testing.customers import CHILDREN
from polar_sync.testing.events import OVERLAP, list_subscription_events
from polar_sync.testing.webhook_rows import EVENT_TYPES
from tests.factories import build_meter
from tests.testing.asking import ask, get_frozen_now, list_items
from tests.testing.conftest import find_shared

# No type of these is in the contract beside its name.
NOT_DESCRIBED = {
    "member.created",
    "member.deleted",
    "product.updated",
    "benefit.updated",
    "order.created",
    "order.paid",
}
STATE = "customer.state_changed"


def listen(polar: FakePolar, *types: str) -> None:
    """Have events made from now on that are never sent."""
    polar.webhooks.sender.stop()
    polar.webhooks.add_endpoint("http://127.0.0.1:9/", events=types or EVENT_TYPES)


def take(polar: FakePolar) -> list[dict[str, Any]]:
    """The bodies of the events made since the last call."""
    bodies = [json.loads(one.payload or "null") for one in polar.webhooks.events]
    polar.webhooks._events.clear()
    return bodies


def take_types(polar: FakePolar) -> list[str]:
    return [one["type"] for one in take(polar)]


def live(polar: FakePolar) -> list[dict[str, Any]]:
    """Everything that can happen to a customer, and all that is told of it."""
    listen(polar)
    own = polar.create_customer(email="a@example.com")["id"]
    polar.update_customer(own, name="Ada")
    metered = next(one for one in polar.products if len(one["prices"]) > 1)
    polar.subscribe(own, metered)
    free, pro = (next(one for one in polar.products if one["name"] == name) for name in ("Free", "Pro"))
    subscription = polar.subscribe(own, free, status="trialing")
    for change in (polar.cycle, polar.cancel, polar.uncancel, polar.pause, polar.resume):
        change(subscription)
    polar.set_status(subscription, "past_due")
    polar.set_status(subscription, "active")
    polar.change_product(subscription, pro)
    for benefit in polar.benefits:
        grant = polar.grant(own, benefit)
        polar.update_grant(grant, properties=grant["properties"])
        polar.revoke_grant(grant)
    polar.fail_grant(own, polar.benefits[0])
    polar.recount(own, polar.meters[0], consumed=12.5)
    polar.purchase(own, free)
    polar.update_benefit(polar.benefits[0], metadata={"a": 1})
    polar.update_product(free, name="Free 2")
    polar.delete_customer(own)
    return take(polar)


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    return live(FakePolar(seed="events"))


@pytest.fixture(scope="session")
def recorded_bodies() -> list[dict[str, Any]]:
    with gzip.open(find_shared("recordings/webhooks.jsonl.gz"), "rt", encoding="utf-8") as lines:
        bodies = [json.loads(json.loads(line)["body"]) for line in list(lines)[1:]]
    with gzip.open(find_shared("recordings/deliveries.jsonl.gz"), "rt", encoding="utf-8") as lines:
        pages = [json.loads(line)["body"]["items"] for line in list(lines)[1:] if "/v1/webhooks/deliveries" in line]
    return bodies + [json.loads(item["webhook_event"]["payload"]) for page in pages for item in page]


def describe(value: Any) -> Any:
    """The keys in their order, all the way down; of a list those of its first item, of a free object none."""
    if isinstance(value, dict):
        free = {"benefits", "metadata", "benefit_metadata", "custom_field_data", "properties", "previous_properties"}
        return {key: "free" if key in free else describe(item) for key, item in value.items()}
    return describe(value[0]) if isinstance(value, list) and value else "value"


def is_like(made: Any, recorded: Any) -> bool:
    """The same keys in the same order wherever both are objects: either may be null or empty where the other is not."""
    if not isinstance(made, dict) or not isinstance(recorded, dict):
        return True
    return list(made) == list(recorded) and all(is_like(made[key], recorded[key]) for key in made)


def is_any_like(made: dict[str, Any], recorded: Iterator[dict[str, Any]]) -> bool:
    return any(is_like(describe(made), describe(one)) for one in recorded)


def test_payloads_have_the_fields_of_recorded_ones(
    told: list[dict[str, Any]], recorded_bodies: list[dict[str, Any]]
) -> None:
    known = {one["type"] for one in recorded_bodies}
    checked = [one for one in told if one["type"] in known]
    assert {one["type"] for one in checked} == known - {"customer_seat.revoked"}
    for one in checked:
        alike = (other for other in recorded_bodies if other["type"] == one["type"])
        assert is_any_like(one, alike), one


def test_payloads_are_those_of_the_contract(told: list[dict[str, Any]], contract: dict[str, Any]) -> None:
    kinds = {one["type"] for one in told}
    for kind in sorted(kinds - NOT_DESCRIBED):
        words = kind.replace(".", "_").split("_")
        name = f"Webhook{''.join(word.capitalize() for word in words)}Payload"
        schema = {"$ref": f"#/components/schemas/{name}", "components": contract["components"]}
        validator = Draft202012Validator(schema)
        for one in told:
            if one["type"] == kind:
                validator.validate(one)
    assert kinds >= NOT_DESCRIBED


def test_product_and_benefit_are_told_as_they_are_listed(polar: FakePolar) -> None:
    listen(polar)
    discord = next(one for one in polar.benefits if one["type"] == "discord")
    polar.update_benefit(discord, description="New")
    polar.update_product(polar.products[2], name="New")
    benefit, product = (one["data"] for one in take(polar))
    listed = {one["id"]: one for path in ("benefits", "products") for one in list_items(polar, f"/v1/{path}/")}
    assert product == listed[product["id"]]
    assert benefit == listed[benefit["id"]]
    assert benefit["modified_at"] is not None


def test_subscription_and_grant_are_told_as_they_are_listed(polar: FakePolar) -> None:
    polar.add_field("subscription", "brand_new", 1)
    polar.add_field("grant", "brand_new", 2)
    own = polar.create_customer()["id"]
    listen(polar)
    polar.subscribe(own, polar.products[0])
    told = take(polar)
    assert told[0]["data"] == list_items(polar, "/v1/subscriptions/")[0]
    listed = {one["id"]: one for one in list_items(polar, "/v1/benefit-grants/")}
    grants = [one["data"] for one in told if one["type"] == "benefit_grant.created"]
    assert len(grants) == len(listed) == 3
    for grant in grants:
        assert grant.pop("previous_properties") == {}
        assert grant == listed[grant["id"]]
    assert told[-1]["data"] == ask(polar, f"/v1/customers/{own}/state").json


def test_customer_is_created_updated_and_deleted_with_its_owner(polar: FakePolar) -> None:
    listen(polar)
    own = polar.create_customer(external_id="usr_1")["id"]
    assert take_types(polar) == ["member.created", "customer.created", STATE]
    polar.update_customer(own, name="Ada")
    assert take_types(polar) == ["customer.updated", STATE]
    polar.delete_customer(own)
    told = take(polar)
    assert [one["type"] for one in told] == ["member.deleted", "customer.deleted", STATE]
    # The owner goes first, while the customer still has its external id.
    assert [one["data"]["external_id"] for one in told] == ["usr_1", None, None]
    assert told[1]["data"]["deleted_at"] == told[2]["data"]["deleted_at"] == told[1]["data"]["modified_at"] is not None


def test_organization_without_members_tells_of_none(polar: FakePolar) -> None:
    polar.has_members = False
    listen(polar, "member.created", "member.deleted")
    polar.delete_customer(polar.create_customer()["id"])
    assert take(polar) == []


def test_owner_of_a_team_without_an_email_is_who_was_named(polar: FakePolar) -> None:
    listen(polar, "member.created")
    body = {"type": "team", "name": "Firm", "owner": {"email": "boss@example.com"}}
    ask(polar, "/v1/customers/", method="POST", body=body)
    assert [one["data"]["email"] for one in take(polar)] == ["boss@example.com"]


def test_first_state_of_a_deleted_customer_still_holds_its_grants(polar: FakePolar) -> None:
    own = polar.create_customer(external_id="usr_1")["id"]
    polar.subscribe(own, polar.products[0])
    listen(polar)
    polar.delete_customer(own)
    told = take(polar)
    ends = ["subscription.updated", "subscription.canceled", "subscription.revoked"]
    revoked = ["benefit_grant.revoked"] * 3
    assert [one["type"] for one in told] == ["member.deleted", *ends, "customer.deleted", STATE, *revoked, STATE]
    first, last = (one["data"] for one in told if one["type"] == STATE)
    assert (len(first["granted_benefits"]), first["active_subscriptions"]) == (3, [])
    assert (last["granted_benefits"], last["external_id"]) == ([], None)
    assert {one["data"]["customer"]["deleted_at"] for one in told if one["type"].startswith("benefit")} != {None}


def test_rows_that_the_lists_keep_of_a_deleted_customer_stay_what_they_were(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    polar.subscribe(own, polar.products[0])
    listen(polar)
    polar.shows_deleted = True
    polar.delete_customer(own)
    assert {one["is_granted"] for one in list_items(polar, "/v1/benefit-grants/", [own])} == {True}


@pytest.mark.parametrize("change", ["customer", "meter", "state"])
def test_new_metadata_of_a_benefit_is_told_of_the_benefit_alone(polar: FakePolar, change: str) -> None:
    own = polar.create_customer()["id"]
    polar.subscribe(own, polar.products[0])
    flag = next(one for one in polar.benefits if one["type"] == "feature_flag")
    listen(polar)
    polar.update_benefit(flag, metadata={"on": False})
    assert take_types(polar) == ["benefit.updated"]

    def read_state() -> Any:
        grants = ask(polar, f"/v1/customers/{own}/state").json["granted_benefits"]
        return next(one["benefit_metadata"] for one in grants if one["benefit_id"] == flag["id"])

    listed = list_items(polar, "/v1/benefit-grants/", [own])
    assert next(one["benefit"]["metadata"] for one in listed if one["benefit_id"] == flag["id"]) == {"on": False}
    assert read_state() == flag["metadata"]
    changes: dict[str, Callable[[], object]] = {
        "customer": lambda: polar.update_customer(own, name="Ada"),
        "meter": lambda: polar.recount(own, polar.meters[0]),
        "state": lambda: polar.put_state(polar.get_state(own)),
    }
    changes[change]()
    assert read_state() == {"on": False}


def test_state_that_is_held_is_not_renewed_by_a_change(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    polar.hold_states()
    polar.subscribe(own)
    assert ask(polar, f"/v1/customers/{own}/state").json["active_subscriptions"] == []
    polar.renew_states()
    assert len(ask(polar, f"/v1/customers/{own}/state").json["active_subscriptions"]) == 1


def test_recount_moves_the_time_even_with_equal_units_and_is_told(polar: FakePolar) -> None:
    own, meter = polar.create_customer()["id"], polar.meters[0]
    listen(polar)
    first = polar.recount(own, meter, consumed=3.5, credited=10)
    second = polar.recount(own, meter["id"])
    assert (first["modified_at"], first["balance"]) == (None, 6.5)
    assert second["modified_at"] is not None
    assert {**second, "modified_at": None} == first
    assert take_types(polar) == [STATE, STATE]
    assert [one["id"] for one in list_items(polar, "/v1/customer-meters/", [own])] == [first["id"]]


@pytest.mark.parametrize(("units", "told"), [(0, []), (1, [STATE])])
def test_meter_that_counts_nothing_appears_untold(polar: FakePolar, units: int, told: list[str]) -> None:
    own = polar.create_customer()["id"]
    listen(polar)
    polar.add_customer_meter(own, {**build_meter("m"), "consumed_units": units, "credited_units": 0})
    assert take_types(polar) == told


def test_state_put_in_the_place_of_another_is_told_in_its_parts() -> None:
    polar = FakePolar.generate(seed=3, customers=60)
    states = [polar.get_state(one) for one in polar.customers]
    rich = next(one for one in states if len(one["active_subscriptions"]) > 1 and len(one["granted_benefits"]) > 2)
    listen(polar)
    polar.put_state(rich)
    assert take(polar) == []
    gone, kept, *others = rich["active_subscriptions"]
    poorer = {
        **rich,
        "active_subscriptions": [{**kept, "amount": 5}, *others],
        "granted_benefits": rich["granted_benefits"][1:],
    }
    polar.put_state(poorer)
    told = take(polar)
    assert [one["type"] for one in told] == [
        *("subscription.updated", "subscription.canceled", "subscription.revoked"),
        *("subscription.updated", "benefit_grant.revoked", STATE),
    ]
    assert [one["data"]["id"] for one in told[:5]] == [gone["id"]] * 3 + [kept["id"], rich["granted_benefits"][0]["id"]]
    assert told[-1]["data"] == polar.get_state(rich["id"])
    polar.put_state({**poorer, "name": "New"})
    assert take_types(polar) == ["customer.updated", STATE]


def test_customer_put_with_its_state_is_told_as_new(polar: FakePolar) -> None:
    source = FakePolar.generate(seed=3, customers=20)
    states = [source.get_state(one) for one in source.customers]
    state = next(one for one in states if all(one[name] for name in CHILDREN))
    listen(polar)
    polar.put_state(state)
    types = take_types(polar)
    assert types[:3] == ["member.created", "customer.created", STATE] or types[:2] == ["customer.created", STATE]
    assert types.count("subscription.created") == len(state["active_subscriptions"])
    assert types.count("benefit_grant.created") == len(state["granted_benefits"])


def test_subscription_and_grant_that_only_lists_have_are_told_too(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    polar.subscribe(own, polar.products[0])
    state = polar.get_state(own)
    listen(polar)
    polar.set_other_subscriptions(own, [{**state["active_subscriptions"][0], "id": "s", "status": "past_due"}])
    polar.set_other_grants(own, [{**state["granted_benefits"][0], "id": "g", "granted_at": None, "is_granted": False}])
    told = take(polar)
    assert [(one["type"], one["data"]["id"]) for one in told] == [
        ("subscription.created", "s"),
        ("benefit_grant.created", "g"),
    ]


@pytest.mark.parametrize("hostile", [None, 5, "text", {}, [5], [None, {"id": "s"}], [{"id": ["x"], "status": []}]])
def test_nonsense_is_told_as_far_as_it_can_be(polar: FakePolar, hostile: Any) -> None:
    listen(polar)
    polar.put_raw_item(hostile)
    own = polar.create_customer()
    polar.put_state({**own, **dict.fromkeys(CHILDREN, hostile)})
    polar.delete_customer(own["id"])
    assert take_types(polar)[-1] == STATE


def test_overlapping_jobs_tell_older_data_under_a_later_time() -> None:
    polar = FakePolar(seed=1, clock=get_frozen_now)
    own = polar.create_customer(name="0")["id"]
    listen(polar, STATE)
    polar.webhooks.stale_states = True
    for number in range(1, 40):
        polar.update_customer(own, name=str(number))
        polar.subscribe(own)
    told = take(polar)
    pairs = [
        (one, other)
        for one, other in pairwise(told)
        if OVERLAP <= read_time(other) - read_time(one) < timedelta(milliseconds=4)
    ]
    assert 10 < len(pairs) < 70
    # The customer itself is old in all of them, the rest in some.
    renamed = [(one, other) for one, other in pairs if other["data"]["name"] != one["data"]["name"]]
    assert renamed
    assert all(int(other["data"]["name"]) == int(one["data"]["name"]) - 1 for one, other in renamed)
    older = [tuple(len(other["data"][name]) < len(one["data"][name]) for name in CHILDREN[:2]) for one, other in pairs]
    # Subscriptions are read before grants: parts of one state differ in age, and never the other way about.
    assert set(older) == {(False, False), (True, False), (True, True)}


def test_states_are_never_stale_unless_they_are_told_to_be(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    listen(polar, STATE)
    for number in range(20):
        polar.update_customer(own, name=str(number))
    assert [one["data"]["name"] for one in take(polar)] == [str(number) for number in range(20)]


def read_time(body: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(body["timestamp"])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, {"status": "active"}, "created active updated"),
        (None, {"status": "trialing"}, "created active updated"),
        (None, {"status": "incomplete"}, "created"),
        ({"status": "incomplete"}, {"status": "active"}, "updated active"),
        ({"status": "trialing"}, {"status": "active"}, "updated"),
        ({"status": "active"}, {"status": "active", "canceled_at": "now"}, "updated canceled"),
        ({"status": "active", "canceled_at": "then"}, {"status": "active", "canceled_at": None}, "updated uncanceled"),
        ({"status": "active"}, {"status": "canceled", "canceled_at": "now"}, "updated canceled revoked"),
        (
            {"status": "active", "canceled_at": "then"},
            {"status": "canceled", "canceled_at": "then"},
            "updated canceled revoked",
        ),
        ({"status": "canceled"}, {"status": "canceled"}, "updated"),
        ({"status": "active"}, {"status": "past_due"}, "updated past_due"),
        ({"status": "past_due"}, {"status": "active"}, "updated active"),
        ({"status": "past_due"}, {"status": "unpaid"}, "updated revoked"),
        ({"status": "active"}, {"status": "paused"}, "updated paused"),
        ({"status": "paused"}, {"status": "active"}, "updated resumed"),
        ({"status": []}, {"status": {}}, "updated"),
    ],
)
def test_events_of_a_subscription_follow_from_what_it_was_and_is(before: Any, after: Any, expected: str) -> None:
    assert list_subscription_events(before, after) == [f"subscription.{one}" for one in expected.split()]
