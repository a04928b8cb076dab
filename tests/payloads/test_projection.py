"""Tests."""

from __future__ import annotations

from typing import Any

import pytest

from polar_sync.models import BenefitGrant, Customer, Meter, Subscription, SubscriptionMeter
from polar_sync.payloads import BENEFIT_GRANT, CUSTOMER, METER, SUBSCRIPTION, SUBSCRIPTION_METER, Kind, dump_canonical
from tests import factories

KINDS = [
    (CUSTOMER, Customer, factories.build_customer),
    (SUBSCRIPTION, Subscription, factories.build_subscription),
    (SUBSCRIPTION_METER, SubscriptionMeter, factories.build_subscription_meter),
    (BENEFIT_GRANT, BenefitGrant, factories.build_grant),
    (METER, Meter, factories.build_meter),
]
# What only the mirror has, and references.
OWN_COLUMNS = {
    *("payload", "extra", "state_extra", "synced_at", "scrubbed_at", "is_in_state"),
    *("customer_id", "subscription_id"),
}
IDS = {"id", "organization_id"}


@pytest.mark.parametrize(("shape", "model", "build"), KINDS)
def test_every_column_is_projected(shape: Kind, model: Any, build: Any) -> None:
    columns = {field.attname for field in model._meta.concrete_fields} - OWN_COLUMNS - IDS
    assert shape.columns.keys() == columns


@pytest.mark.parametrize(("shape", "model", "build"), KINDS)
def test_every_field_of_the_contract_has_a_column(shape: Kind, model: Any, build: Any) -> None:
    assert build("one").keys() - IDS - {"meters"} == shape.columns.keys()


@pytest.mark.parametrize(("shape", "model", "build"), KINDS)
def test_absent_fields_project_as_null(shape: Kind, model: Any, build: Any) -> None:
    assert set(shape.project(dump_canonical({})).values()) == {None}


@pytest.mark.parametrize(("shape", "model", "build"), KINDS)
def test_timestamps_are_known_as_such(shape: Kind, model: Any, build: Any) -> None:
    assert shape.timestamps == shape.columns.keys() & factories.TIMESTAMPS
