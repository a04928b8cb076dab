"""Columns are what the kept JSON projects to, also after an upgrade that gave a field a column."""

from __future__ import annotations

from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from polar_sync.models import (
    BenefitGrant,
    Customer,
    CustomerObservation,
    Meter,
    Organization,
    Subscription,
    SubscriptionMeter,
)
from polar_sync.payloads import dump_canonical, load_canonical
from polar_sync.store import Outcome, refill
from polar_sync.store.refill import refill_columns
from tests.factories import apply_states, at, build_full_state, build_state, make_uuid, read_at
from tests.store.support import take_snapshot

pytestmark = pytest.mark.django_db


@pytest.fixture
def states(organization: Organization) -> list[dict[str, Any]]:
    states = [build_full_state(name) | {"locale": "fr", "added": 1} for name in "abc"]
    apply_states(organization, *states, interval=read_at(0))
    return states


def test_rows_as_they_should_be_are_left_alone(states: list[dict[str, Any]]) -> None:
    before = take_snapshot(without=())
    with CaptureQueriesContext(connection) as queries:
        assert set(refill_columns().values()) == {0}
    assert not [each for each in queries if each["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    assert take_snapshot(without=()) == before


def test_columns_are_projected_anew(states: list[dict[str, Any]]) -> None:
    before = take_snapshot(without=())
    Customer.objects.update(locale=None, email="wrong")
    Subscription.objects.filter(customer=make_uuid("a")).update(status="wrong", amount=None)
    SubscriptionMeter.objects.update(consumed_units=None)
    BenefitGrant.objects.update(granted_at=None, properties=None)
    Meter.objects.update(balance=-5)
    counts = refill_columns()
    rows: dict[str, Any] = {"subscription_meter": SubscriptionMeter, "benefit_grant": BenefitGrant, "meter": Meter}
    held = Subscription.objects.filter(customer=make_uuid("a")).count()
    assert counts == {
        "customer": 3,
        "subscription": held,
        **{name: model.objects.count() for name, model in rows.items()},
    }
    assert take_snapshot(without=()) == before


def test_field_that_has_a_column_now_leaves_the_further_fields(
    organization: Organization, states: list[dict[str, Any]]
) -> None:
    """As a version kept it that did not know the field: in lists and in states apart."""
    for row in Customer.objects.all():
        own = load_canonical(row.payload)
        locale = own.pop("locale")
        state_extra = {**load_canonical(row.state_extra), "locale": locale}
        texts = {"payload": dump_canonical(own), "extra": dump_canonical({"locale": locale}), "locale": None}
        Customer.objects.filter(pk=row.pk).update(**texts, state_extra=dump_canonical(state_extra))
    told = {each.pk: each.state() for each in Customer.objects.all()}
    assert refill_columns()["customer"] == 3
    assert {each.pk: each.state() for each in Customer.objects.all()} == told
    assert set(Customer.objects.values_list("locale", "extra")) == {("fr", "")}
    assert set(apply_states(organization, *states, interval=read_at(1)).outcomes.values()) == {Outcome.UNCHANGED}


def test_who_is_deleted_or_forgotten_stays_so(organization: Organization) -> None:
    apply_states(organization, build_state("gone"), build_state("scrubbed"), interval=read_at(0))
    Customer.all_objects.filter(pk=make_uuid("gone")).update(deleted_at=at(1), name="wrong")
    forgotten = dump_canonical({"id": str(make_uuid("scrubbed"))})
    Customer.all_objects.filter(pk=make_uuid("scrubbed")).update(payload=forgotten, scrubbed_at=at(2), deleted_at=at(1))
    assert refill_columns()["customer"] == 2
    gone, scrubbed = (Customer.all_objects.get(pk=make_uuid(name)) for name in ("gone", "scrubbed"))
    assert (gone.deleted_at, gone.name) == (at(1), build_state("gone")["name"])
    assert (scrubbed.deleted_at, scrubbed.scrubbed_at, scrubbed.email) == (at(1), at(2), None)


def test_command_tells_what_it_did(states: list[dict[str, Any]]) -> None:
    Meter.objects.filter(customer=make_uuid("a")).update(balance=-5)
    number = Meter.objects.filter(customer=make_uuid("a")).count()
    outputs = []
    for _ in range(2):
        output = StringIO()
        call_command("polar_sync_refill", stdout=output)
        outputs.append(output.getvalue())
    assert outputs == [
        f"Rows that were not as they should be: meter: {number}.\n",
        "Rows that were not as they should be: none.\n",
    ]


def test_customer_from_a_dump_without_its_observation_is_refilled_too(states: list[dict[str, Any]]) -> None:
    CustomerObservation.objects.all().delete()
    Customer.objects.update(locale=None)
    Meter.objects.update(balance=-5)
    counts = refill_columns()
    assert (counts["customer"], counts["meter"]) == (3, Meter.objects.count())
    assert CustomerObservation.objects.count() == len(states)
    assert set(refill_columns().values()) == {0}


def test_answer_that_changes_is_given_anew(states: list[dict[str, Any]]) -> None:
    """Where lists had a field that states lacked, both tell of it now."""
    key = make_uuid("a")
    row = Customer.objects.get(pk=key)
    own = load_canonical(row.payload)
    del own["locale"]
    extra = dump_canonical({"locale": "fr"})
    Customer.objects.filter(pk=key).update(payload=dump_canonical(own), extra=extra, locale=None)
    assert refill_columns()["customer"] == 1
    after = Customer.objects.get(pk=key)
    assert after.state()["locale"] == "fr"
    assert after.synced_at is not None
    assert row.synced_at is not None
    assert after.synced_at > row.synced_at


def test_everybody_is_locked_before_their_rows_are_read(
    states: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Customer.objects.update(locale=None)
    Meter.objects.update(balance=-5)
    asked: list[set[UUID]] = []

    def lock_nobody(ids: Any, *, using: str) -> dict[UUID, Any]:
        """As where all of it has gone to others meanwhile."""
        asked.append(set(ids))
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(refill, "lock_observation_records", lock_nobody)
        assert set(refill_columns().values()) == {0}
    assert asked == [{make_uuid(name) for name in "abc"}] * 5  # customers, and four kinds of what they have
    assert refill_columns()["customer"] == 3
