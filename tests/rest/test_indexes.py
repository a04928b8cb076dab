"""At 200,000 customers on PostgreSQL every sort, and every filter that few rows pass, goes through an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from polar_sync.models import Organization
from tests.factories import ORGANIZATION_ID, create_organization, make_uuid
from tests.rest.population import COUNT, populate

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="is about PostgreSQL's plans"),
    # One process makes the rows, and one is enough.
    pytest.mark.xdist_group("population"),
]
TABLES = {f"polar_sync_{name}" for name in ("customer", "subscription", "benefitgrant", "meter")}
SORTS = [
    *(f"customers/?sorting={sign}{name}" for name in ("created_at", "email", "name") for sign in ("", "-")),
    f"customers/?organization_id={ORGANIZATION_ID}",
    f"customers/?organization_id={ORGANIZATION_ID}&sorting=name",
    *(f"subscriptions/?sorting={sign}{name}" for name in ("created_at", "current_period_end") for sign in ("", "-")),
    *(f"benefit-grants/?sorting={sign}created_at" for sign in ("", "-")),
    *(f"meters/?sorting={sign}{name}" for name in ("created_at", "balance") for sign in ("", "-")),
]
CURSORS = [f"{path}{'&' if '?' in path else '?'}" for path in SORTS]
FILTERS = [
    "customers/?email=USER%20777@EXAMPLE.COM",
    "customers/?metadata[number]=777",
    "customers/?metadata[plan]=rare&metadata[number]=1000",
    f"customers/?organization_id={make_uuid('small')}",
    f"customers/?organization_id={make_uuid('small')}&sorting=name",
    "subscriptions/?external_customer_id=usr_777",
    f"subscriptions/?customer_id={make_uuid('none')}",
    "subscriptions/?status=past_due",
    f"subscriptions/?product_id={make_uuid('rare')}",
    "subscriptions/?current_period_end_before=2026-01-01T00:30:00Z",
    f"subscriptions/?current_period_end_after={quote('2026-05-19T20:00:00Z')}",
    f"benefit-grants/?benefit_id={make_uuid('rare')}",
    "benefit-grants/?benefit_type=rare",
    "meters/?balance_below=-990",
    f"meters/?meter_id={make_uuid('rare')}",
]


@pytest.fixture(scope="module")
def population(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Organization]:
    with django_db_blocker.unblock(), transaction.atomic():
        organization = create_organization()
        create_organization("small", polar_id=make_uuid("small"))
        populate(COUNT)
        yield organization
        transaction.set_rollback(True)


def explain(api: Client, path: str) -> dict[str, list[dict[str, Any]]]:
    """The plans of the statements over mirrored rows that answer a request, by statement."""
    with CaptureQueriesContext(connection) as queries:
        answer = api.get(f"/polar/v1/{path}")
    assert answer.status_code == 200, answer.content
    plans = {}
    for query in queries:
        if any(f'FROM "{table}"' in query["sql"] for table in TABLES):
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN (FORMAT JSON) " + query["sql"].replace("%", "%%"))
                plans[query["sql"]] = list(walk(json.loads(json.dumps(cursor.fetchone()[0]))[0]["Plan"]))
    assert plans
    return plans


def walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from walk(below)


def is_count(sql: str) -> bool:
    return "COUNT(*)" in sql


@pytest.mark.parametrize("path", SORTS)
def test_sorts_go_through_an_index(population: Organization, api: Client, path: str) -> None:
    for sql, nodes in explain(api, path).items():
        if not is_count(sql):
            assert not {"Seq Scan", "Sort"} & {node["Node Type"] for node in nodes}, (sql, nodes)


@pytest.mark.parametrize("path", FILTERS)
def test_filters_that_few_pass_go_through_an_index(population: Organization, api: Client, path: str) -> None:
    # A first page that holds all is not counted.
    plans = explain(api, path) | explain(api, f"{path}&limit=1&page=2")
    assert any(map(is_count, plans))
    for sql, nodes in plans.items():
        scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert not scanned & TABLES, (sql, nodes)


@pytest.mark.parametrize("path", CURSORS)
def test_deep_page_by_cursor_reads_no_more_than_the_first(population: Organization, api: Client, path: str) -> None:
    """Were the rows before it counted off, the plan's cost would be thousands of times that of the first page."""
    first = read_cost(api, f"{path}limit=10&cursor=")
    cursor = find_deep_cursor(api, path)
    assert read_cost(api, f"{path}limit=10&cursor={cursor}") <= 4 * first


def read_cost(api: Client, path: str) -> int:
    """Pages of the database that answering touches."""
    with CaptureQueriesContext(connection) as queries:
        assert api.get(f"/polar/v1/{path}").status_code == 200
    buffers = 0
    for query in queries:
        if any(f'FROM "{table}"' in query["sql"] for table in TABLES):
            assert not is_count(query["sql"])
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query["sql"].replace("%", "%%"))
                plan = cursor.fetchone()[0][0]["Plan"]
                buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return buffers


def find_deep_cursor(api: Client, path: str) -> str:
    """The cursor in the midst of the list, by the page number that cursors are there to spare."""
    from polar_sync.rest.pagination import write_cursor  # noqa: PLC0415

    page = api.get(f"/polar/v1/{path}limit=1&page=100000").json()["items"][0]
    sorting = path.partition("sorting=")[2].partition("&")[0] or "-created_at"
    model = {"customers": "Customer", "subscriptions": "Subscription", "meters": "Meter"}.get(path.partition("/")[0])
    from django.apps import apps  # noqa: PLC0415

    row = apps.get_model("polar_sync", model or "BenefitGrant")._default_manager.get(pk=page["id"])
    return write_cursor(sorting, row)


def test_numbers_that_are_counted_are_right(population: Organization, api: Client) -> None:
    assert api.get("/polar/v1/customers/").json()["pagination"]["total_count"] == COUNT
    assert api.get("/polar/v1/customers/?metadata[number]=777").json()["pagination"]["total_count"] == 1
    assert api.get("/polar/v1/customers/?email=user 777@example.com").json()["pagination"]["total_count"] == 1
