"""A filled database of the first version is brought up to date, without a table being rewritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Customer, CustomerObservation, Organization, SyncRun
from polar_sync.payloads import BENEFIT_GRANT, CUSTOMER, METER, SUBSCRIPTION, SUBSCRIPTION_METER, dump_canonical
from polar_sync.store import Outcome, observe_state
from polar_sync.store.ordering import Source
from tests.factories import (
    ORGANIZATION_ID,
    apply_states,
    at,
    build_customer,
    build_full_state,
    make_uuid,
    normalize_state,
    read_at,
)

FIRST = "0002_leave_room_for_observations"
NAMES = ("a", "b", "c")
is_postgresql = connection.vendor == "postgresql"


def migrate(name: str | None) -> Any:
    """Bring the database to this migration, or to the newest; gives the models of then."""
    executor = MigrationExecutor(connection)
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "polar_sync"]
    target = [("polar_sync", name)] if name is not None else targets
    executor.migrate(target)
    return MigrationExecutor(connection).loader.project_state(target).apps


@pytest.fixture
def first(transactional_db: None) -> Iterator[Any]:
    """The models of the first version, and a database of it."""
    try:
        apps = migrate(FIRST)
        if is_postgresql:  # the first version had it as a part of its model
            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE INDEX polar_customer_metadata ON polar_sync_customer USING gin (metadata jsonb_path_ops)"
                )
        yield apps
    finally:
        migrate(None)


def fill(apps: Any) -> None:
    def create(model: str, shape: Any, data: dict[str, Any], **fields: Any) -> Any:
        payload = dump_canonical(data)
        columns = shape.project(payload)
        rows = apps.get_model("polar_sync", model)._default_manager
        return rows.create(id=data["id"], payload=payload, **columns, **fields)

    organization = apps.get_model("polar_sync", "Organization").objects.create(
        name="default", polar_id=ORGANIZATION_ID, server="production"
    )
    run = apps.get_model("polar_sync", "SyncRun").objects.create(organization=organization, status="succeeded")
    apps.get_model("polar_sync", "SyncPage").objects.create(run=run, number=1, is_done=True)
    for name in NAMES:
        customer = build_customer(name)
        create("Customer", CUSTOMER, customer, organization_id=ORGANIZATION_ID)
        apps.get_model("polar_sync", "CustomerObservation").objects.create(
            customer_id=customer["id"], observed_at=at(0), extra_observed_at=at(0), state_observed_at=at(0)
        )
        state = build_full_state(name)
        for subscription in state["active_subscriptions"]:
            create("Subscription", SUBSCRIPTION, {**subscription, "meters": []}, customer_id=customer["id"])
            for meter in subscription["meters"]:
                create("SubscriptionMeter", SUBSCRIPTION_METER, meter, subscription_id=subscription["id"])
        for grant in state["granted_benefits"]:
            create("BenefitGrant", BENEFIT_GRANT, grant, customer_id=customer["id"])
        for meter in state["active_meters"]:
            create("Meter", METER, meter, customer_id=customer["id"])


def read_files() -> dict[str, int]:
    """Which file PostgreSQL keeps each table and index of the first version in: another one after a rewrite."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relname LIKE 'polar%'")
        return dict(cursor.fetchall())


def test_mirror_of_before_goes_on_where_it_was(first: Any) -> None:
    fill(first)
    migrate(None)
    organization = Organization.objects.get()
    for name in NAMES:
        customer = Customer.objects.get(pk=make_uuid(name))
        expected = {**build_full_state(name), **build_customer(name)}
        assert normalize_state(customer.state()) == normalize_state(expected)
    assert SyncRun.objects.get().pages.get().is_done
    stale = apply_states(organization, build_full_state("a", version=7), interval=read_at(-1))
    assert stale.outcomes == {make_uuid("a"): Outcome.STALE}, "times of before guard as they did"
    known = [build_full_state(name) for name in NAMES]
    assert set(apply_states(organization, *known, interval=read_at(1)).outcomes.values()) == {Outcome.UPDATED}
    assert set(apply_states(organization, *known, interval=read_at(2)).outcomes.values()) == {Outcome.UNCHANGED}
    reading = observe_state(known[0], interval=read_at(2)).reading
    row = CustomerObservation.objects.get(pk=make_uuid("a"))
    assert (row.state_observed_at, row.state_observed_until) == (reading.interval.start, reading.interval.end)
    assert row.state_observed_from == Source.STATE


@pytest.mark.skipif(not is_postgresql, reason="only there would others have to wait for it")
def test_nothing_of_before_is_written_anew_and_indexes_let_writers_go_on(first: Any) -> None:
    """So no table is locked for longer than it takes to change the catalogue."""
    fill(first)
    before = read_files()
    with CaptureQueriesContext(connection) as queries:
        migrate(None)
    after = read_files()
    assert {name: after.get(name) for name in before} == before
    tables = {name for name in after.keys() - before.keys() if name.startswith("polar_sync_")}
    concurrent = {
        found[1] for query in queries if (found := re.match(r'CREATE INDEX CONCURRENTLY "(\w+)"', query["sql"]))
    }
    assert {name for name, table in list_indexes().items() if table not in tables} <= before.keys() | concurrent
    assert concurrent


@pytest.mark.skipif(not is_postgresql, reason="only there an index can be left half made")
def test_index_that_was_begun_and_given_up_is_made_anew(first: Any) -> None:
    fill(first)
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX polar_subscription_price ON polar_sync_subscription (status)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'polar_subscription_price'::regclass")
    migrate(None)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "polar_sync_subscription")["polar_subscription_price"]
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'polar_subscription_price'::regclass")
        assert cursor.fetchone() == (True,)
    assert found["columns"] == ["price_id"]


def list_indexes() -> dict[str, str]:
    """The table of each index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, tablename FROM pg_indexes WHERE tablename LIKE 'polar%'")
        return dict(cursor.fetchall())


@pytest.mark.django_db
def test_new_database_has_the_index_that_the_first_version_had() -> None:
    with connection.cursor() as cursor:
        names = connection.introspection.get_constraints(cursor, Customer._meta.db_table)
    assert ("polar_customer_metadata" in names) == is_postgresql
