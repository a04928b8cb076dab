"""What events of each kind do to the mirror, and which of several holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from polar_sync.models import Benefit, Customer, MeterDefinition, PendingRefresh, Product, Subscription, WebhookDelivery
from polar_sync.testing.webhook_rows import Event
from tests.sync.hearing import Hearing, change_event, keep_body, list_left, list_verdicts, write_event

pytestmark = pytest.mark.django_db


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    """One customer, Ada, who is mirrored with nothing; and an endpoint that hears of everything."""
    hearing = Hearing(monkeypatch, settings)
    hearing.add_endpoint()
    with hearing.polar.webhooks.silence():
        hearing.polar.create_customer(name="Ada")
    hearing.run()
    hearing.pass_time(7200)
    hearing.take_events()
    return hearing


def get_ada(hearing: Hearing) -> Customer:
    return Customer.all_objects.get(pk=hearing.polar.customers[0])


def choose(events: list[Event], prefix: str) -> list[Event]:
    return [event for event in events if event.type.startswith(prefix)]


def get_reasons() -> set[str]:
    return set(PendingRefresh.objects.values_list("reason", flat=True))


def subscribe(hearing: Hearing, **fields: Any) -> UUID:
    """Ada subscribes, and that is heard of."""
    key = hearing.polar.subscribe(hearing.polar.customers[0], **fields)["id"]
    hearing.pass_time(3600)
    hearing.hear()
    assert not PendingRefresh.objects.exists()
    return UUID(key)


# States


def test_new_state_is_applied_whole(hearing: Hearing) -> None:
    hearing.polar.subscribe(hearing.polar.customers[0])
    hearing.hear(choose(hearing.take_events(), "customer.state_changed"))
    hearing.check()


def test_only_the_newest_of_waiting_states_is_applied(hearing: Hearing) -> None:
    for name in ("Bea", "Cleo", "Dora"):
        hearing.pass_time(120)
        hearing.polar.update_customer(hearing.polar.customers[0], name=name)
    states = choose(hearing.take_events(), "customer.state_changed")
    hearing.hear([states[2], states[0], states[1]])
    assert [status for _, status in list_verdicts()] == ["processed", "stale", "stale"]
    hearing.check()


def test_older_state_that_arrives_later_is_stale(hearing: Hearing) -> None:
    for name in ("Bea", "Cleo"):
        hearing.pass_time(120)
        hearing.polar.update_customer(hearing.polar.customers[0], name=name)
    old, new = choose(hearing.take_events(), "customer.state_changed")
    hearing.hear([new])
    hearing.hear([old])
    assert [status for _, status in list_verdicts()] == ["processed", "stale"]
    hearing.check()


def test_later_state_that_shows_less_than_an_earlier_one_is_not_believed_unasked(hearing: Hearing) -> None:
    """Two of Polar's jobs overlapped, and the later time was taken with the older data."""
    touched = touch(hearing)
    empty = choose(touched, "customer.state_changed")[-1]
    hearing.keep(choose(touched, "customer.updated"))
    hearing.pass_time(10)
    hearing.polar.subscribe(hearing.polar.customers[0])
    full = choose(hearing.take_events(), "customer.state_changed")[-1]
    body = (empty.payload or "").replace(
        empty.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        (full.created_at + timedelta(milliseconds=3)).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        1,
    )
    assert body != empty.payload
    assert full.payload is not None
    keep_body(hearing.row, full.payload)
    keep_body(hearing.row, body)
    hearing.process()
    assert PendingRefresh.objects.count() == 1
    hearing.pass_time(60)
    hearing.ask()
    hearing.check()


def touch(hearing: Hearing) -> list[Event]:
    hearing.polar.update_customer(hearing.polar.customers[0], name="Bea")
    return hearing.take_events()


# Customers


def test_customer_of_whom_nothing_was_known_waits_for_the_state(hearing: Hearing) -> None:
    hearing.polar.create_customer(name="New")
    created = choose(hearing.take_events(), "customer.")
    hearing.hear(choose(created, "customer.created"))
    assert get_reasons() == {"No state followed a change."}
    hearing.hear(choose(created, "customer.state_changed"))
    hearing.check()


def test_customer_who_is_deleted_is_marked_and_nobody_is_asked(hearing: Hearing) -> None:
    subscribe(hearing)
    hearing.polar.delete_customer(hearing.polar.customers[0])
    hearing.hear(choose(hearing.take_events(), "customer.deleted"))
    assert not Customer.objects.exists()
    assert not PendingRefresh.objects.exists()


def test_state_of_a_deleted_customer_that_still_holds_grants_gives_none(hearing: Hearing) -> None:
    """Revocation is a later job of Polar's."""
    key = hearing.polar.customers[0]
    hearing.polar.grant(key, hearing.polar.benefits[0]["id"])
    full = choose(hearing.take_events(), "customer.state_changed")[-1]
    hearing.hear([change_event(full, deleted_at=full.created_at.isoformat())])
    customer = Customer.all_objects.get(pk=key)
    assert customer.deleted_at is not None
    assert not customer.benefit_grants.exists()
    assert not PendingRefresh.objects.exists()


def test_deleted_customer_does_not_come_back_by_an_older_event(hearing: Hearing) -> None:
    key = hearing.polar.customers[0]
    hearing.polar.update_customer(key, name="Bea")
    hearing.polar.subscribe(key)
    older = hearing.take_events()
    hearing.pass_time(5)
    hearing.polar.delete_customer(key)
    hearing.hear(choose(hearing.take_events(), "customer.deleted"))
    hearing.hear(older)
    assert not Customer.objects.exists()
    assert not Subscription.objects.exists()
    assert not PendingRefresh.objects.exists()


# Subscriptions and grants


def test_subscription_is_put_in_by_its_own_event_and_the_state_is_waited_for(hearing: Hearing) -> None:
    key = UUID(hearing.polar.subscribe(hearing.polar.customers[0])["id"])
    hearing.hear(choose(hearing.take_events(), "subscription.created"))
    assert Subscription.objects.get().pk == key
    assert get_reasons() == {"No state followed a change."}


@pytest.mark.parametrize("status", ["canceled", "unpaid", "incomplete_expired", "paused"])
def test_subscription_that_has_ended_is_removed(hearing: Hearing, status: str) -> None:
    key = subscribe(hearing)
    hearing.polar.set_status(str(key), status)
    hearing.hear(choose(hearing.take_events(), "subscription.updated"))
    assert not Subscription.objects.exists()


def test_past_due_subscription_moves_beside_the_state(hearing: Hearing) -> None:
    key = subscribe(hearing)
    hearing.polar.set_status(str(key), "past_due")
    hearing.hear(choose(hearing.take_events(), "subscription.past_due"))
    kept = Subscription.objects.get()
    assert (kept.pk, kept.status, kept.is_in_state) == (key, "past_due", False)
    assert get_ada(hearing).state()["active_subscriptions"] == []


def test_status_that_nobody_knows_is_asked_about(hearing: Hearing) -> None:
    key = subscribe(hearing)
    hearing.polar.update_subscription(str(key), metadata={"a": 1})
    [event, *_] = choose(hearing.take_events(), "subscription.updated")
    hearing.hear([change_event(event, status="hibernating")])
    assert Subscription.objects.get().status == "active"
    [reason] = get_reasons()
    assert "'hibernating' is unknown" in reason
    assert list_left() == []


def test_older_snapshot_of_a_subscription_is_stale(hearing: Hearing) -> None:
    key = subscribe(hearing)
    for amount in (1, 2):
        hearing.pass_time(5)
        hearing.polar.update_subscription(str(key), amount=amount)
    old, new = choose(hearing.take_events(), "subscription.updated")
    before = WebhookDelivery.objects.count()
    hearing.hear([new])
    hearing.hear([old])
    assert Subscription.objects.get().amount == 2
    assert [status for _, status in list_verdicts()[before:]] == ["processed", "stale"]


def test_grant_that_failed_is_none(hearing: Hearing) -> None:
    hearing.polar.fail_grant(hearing.polar.customers[0], hearing.polar.benefits[0])
    hearing.hear(choose(hearing.take_events(), "benefit_grant.created"))
    assert not get_ada(hearing).benefit_grants.exists()


def test_grant_that_is_used_again_is_granted_again(hearing: Hearing) -> None:
    key, benefit = hearing.polar.customers[0], hearing.polar.benefits[0]
    for expected in (1, 0, 1):
        hearing.pass_time(5)
        if expected:
            grant = hearing.polar.grant(key, benefit)
        else:
            hearing.polar.revoke_grant(grant)
        hearing.hear(choose(hearing.take_events(), "benefit_grant."))
        assert get_ada(hearing).benefit_grants.count() == expected


def test_snapshot_of_somebody_who_is_not_mirrored_writes_nothing_and_has_polar_asked(hearing: Hearing) -> None:
    with hearing.polar.webhooks.silence():
        key = hearing.polar.create_customer(name="New")["id"]
    hearing.polar.subscribe(key)
    hearing.pass_time(3600)
    hearing.hear(choose(hearing.take_events(), "subscription."))
    assert not Customer.objects.filter(pk=key).exists()
    assert not Subscription.objects.exists()
    hearing.ask()
    hearing.check()


# What names no customer, and what nothing is mirrored of


def test_revoked_seat_without_a_customer_is_found_by_its_subscription(hearing: Hearing) -> None:
    key = subscribe(hearing)
    data = {"id": str(uuid4()), "subscription_id": str(key), "customer_id": None, "member_id": None, "email": None}
    keep_body(hearing.row, write_event("customer_seat.revoked", data, at=hearing.now))
    hearing.process()
    assert str(PendingRefresh.objects.get().customer_id) == hearing.polar.customers[0]
    assert get_reasons() == {"No state followed customer_seat.revoked."}


def test_revoked_seat_of_a_subscription_that_nobody_has_is_ignored(hearing: Hearing) -> None:
    data = {"id": str(uuid4()), "subscription_id": str(uuid4()), "customer_id": None}
    keep_body(hearing.row, write_event("customer_seat.revoked", data, at=hearing.now))
    hearing.process()
    assert list_verdicts() == [("customer_seat.revoked", "ignored")]
    assert not PendingRefresh.objects.exists()


@pytest.mark.parametrize("kind", ["order.paid", "order.refunded", "customer_seat.claimed", "member.created"])
def test_customer_is_asked_about_unless_a_state_follows(hearing: Hearing, kind: str) -> None:
    key = hearing.polar.customers[0]
    body = write_event(kind, {"id": str(uuid4()), "customer_id": key}, at=hearing.now)
    keep_body(hearing.row, body)
    hearing.process()
    assert get_reasons() == {f"No state followed {kind}."}
    hearing.pass_time(2)
    hearing.hear(choose(touch(hearing), "customer.state_changed"))
    assert not PendingRefresh.objects.exists()
    keep_body(hearing.row, body)  # the same once more, late
    hearing.process()
    assert not PendingRefresh.objects.exists()


@pytest.mark.parametrize("kind", ["order.created", "checkout.created", "refund.created", "x"])
def test_type_that_nothing_is_mirrored_of_is_ignored(hearing: Hearing, kind: str) -> None:
    keep_body(hearing.row, write_event(kind, {"customer_id": hearing.polar.customers[0]}, at=hearing.now))
    hearing.process()
    assert list_verdicts() == [(kind, "ignored")]
    assert not PendingRefresh.objects.exists()


# Names


@pytest.mark.parametrize(("kind", "model"), [("product", Product), ("meter", MeterDefinition)])
def test_name_never_goes_back_to_an_older_version(hearing: Hearing, kind: str, model: Any) -> None:
    key = str(uuid4())

    def tell(name: str, age: int) -> None:
        at = hearing.now - timedelta(minutes=age)
        data = {"id": key, "name": name, "created_at": "2026-01-01T00:00:00Z", "modified_at": at.isoformat()}
        keep_body(hearing.row, write_event(f"{kind}.updated", data, at=at))

    tell("middle", 5)
    hearing.process()
    tell("newest", 1)
    tell("oldest", 9)
    hearing.process()
    tell("older", 3)
    hearing.process()
    assert model.objects.get(pk=key).name == "newest"
    assert list_left() == []


def test_description_of_a_benefit_is_kept_and_its_secrets_are_not(hearing: Hearing) -> None:
    key = str(uuid4())
    data = {"id": key, "description": "Chat", "metadata": {}, "properties": {"guild_token": "private"}}
    keep_body(hearing.row, write_event("benefit.created", data, at=hearing.now))
    hearing.process()
    kept = Benefit.objects.get(pk=key)
    assert kept.name == "Chat"
    assert "private" not in kept.payload
