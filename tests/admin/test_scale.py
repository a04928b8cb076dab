"""The admin at 200,000 customers: few statements a page, none that counts without end, orders from indexes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from polar_sync.admin.figures import compute_figures
from polar_sync.models import Customer
from tests.factories import ORGANIZATION_ID, create_organization, make_id

ROWS = 200_000
ROWS_OF_MARCH = 31 * 24 * 15
MOST_QUERIES = 10
MOST_COST = 60_000  # reading all customers once is 28,000
LIST = "/admin/polar_sync/customer/"
ID = "md5('customer' || n)::uuid"
FILL = f"""
INSERT INTO polar_sync_customer (id, organization_id, created_at, name, email, external_id, type, billing_address,
        payload, extra, state_extra, email_verified, deleted_at)
    SELECT {ID}, '{ORGANIZATION_ID}', '2024-01-01Z'::timestamptz + n * interval '4 minutes', 'Person ' || n,
        'person' || n || '@example.com', 'usr_' || n, 'individual',
        jsonb_build_object('country', CASE WHEN n % 500 = 0 THEN 'IS' ELSE 'FR' END),
        '{{"some": "' || repeat('payload ', 100) || '"}}',
        '', '', true, CASE WHEN n % 1000 = 0 THEN now() END
    FROM generate_series(1, {ROWS}) n;
INSERT INTO polar_sync_customerobservation (customer_id, observed_at, state_observed_at)
    SELECT {ID}, now(), now() - (n % 200) * interval '1 hour' FROM generate_series(1, {ROWS}) n;
INSERT INTO polar_sync_subscription (id, customer_id, created_at, started_at, status, amount, currency,
        recurring_interval, is_in_state, product_id, payload)
    SELECT md5('subscription' || n)::uuid, {ID}, '2024-01-01Z'::timestamptz + n * interval '4 minutes',
        '2024-01-01Z'::timestamptz + n * interval '4 minutes', CASE WHEN n % 900 = 0 THEN 'trialing' ELSE 'active' END,
        2000, 'usd', 'month', true, md5('product' || n % 7)::uuid, '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_benefitgrant (id, customer_id, created_at, benefit_id, benefit_type, payload)
    SELECT md5('grant' || n)::uuid, {ID}, now(), md5('benefit' || n % 9)::uuid, 'custom', '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_meter (id, customer_id, created_at, meter_id, consumed_units, credited_units, balance, payload)
    SELECT md5('meter' || n)::uuid, {ID}, now(), md5('definition' || n % 5)::uuid, n, 100, 100 - n % 110, '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
ANALYZE polar_sync_customer; ANALYZE polar_sync_customerobservation; ANALYZE polar_sync_subscription;
ANALYZE polar_sync_benefitgrant; ANALYZE polar_sync_meter;
"""
FIND = "SELECT md5('subscription1001')::uuid"
PAGES = (
    "",
    "?p=40",
    "?p=100",
    "?o=1",
    "?o=-2",
    "?o=6",
    "?o=-7",
    "?q=person77777@example.com",
    "?q=usr_123",
    "?q=nobody-at-all",
    f"?q={make_id('nobody')}",
    "?active=yes",
    "?active=no",
    "?status=trialing",
    "?product={product}",
    "?benefit_type=custom",
    "?benefit_type=discord",
    "?type=team",
    "?country=IS",
    "?country=XX",
    "?deleted=yes",
    "?observed=stale",
    "?observed=fresh",
    f"?organization={ORGANIZATION_ID}",
    "?created_at__year=2024",
    "?created_at__year=2024&created_at__month=3&created_at__day=1",
)
COUNT = re.compile(r'COUNT\(\*\) AS "?__count"? FROM "polar_sync_', re.IGNORECASE)


@pytest.mark.django_db
def test_admin_stays_quick_at_200_000_customers(make_client: Callable[..., Client], subtests: pytest.Subtests) -> None:
    """One test, as the rows take longer to make than all the pages to ask for."""
    if connection.vendor != "postgresql":
        pytest.skip("The plans and times are PostgreSQL's.")
    create_organization()
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    # A person with no more than the permissions it takes, who costs two statements more than a superuser.
    staff = make_client("sync_organization", "export_customers")
    product, one = (
        ask("SELECT md5('product3')::uuid"),
        ask("SELECT id FROM polar_sync_customer WHERE name = 'Person 1001'"),
    )
    children = [f"/admin/polar_sync/{model}/" for model in ("subscription", "benefitgrant", "meter", "syncrun")]
    lists = [LIST + query.format(product=product) for query in PAGES]
    searches = [f"{LIST}?q={one}", f"{LIST}?q={ask(FIND)}", "/admin/polar_sync/meter/?balance=below&o=5"]
    for url in [*lists, *children, *searches, f"{LIST}{one}/change/"]:
        with subtests.test(url):
            check_page(staff, url)
    for order in ("name", "-name", "email", "external_id", "created_at", "-created_at"):
        with subtests.test(order):
            check_order(order)
    with subtests.test("country"):
        check_country(staff)
    with subtests.test("figures"):
        check_figures(staff)
    assert "Person 1001<" in staff.get(f"{LIST}?q={ask(FIND)}").content.decode()
    with subtests.test("export"):
        check_export(staff)


def check_page(staff: Client, url: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(url).status_code == 200
    statements = [query["sql"] for query in queries]
    assert len(statements) <= MOST_QUERIES, statements
    assert not [one for one in statements if COUNT.search(one)], "a COUNT without a limit"
    costs = {sql: estimate_cost(sql) for sql in statements if sql.startswith("SELECT")}
    assert max(costs.values()) < MOST_COST, costs


def estimate_cost(statement: str) -> float:
    """What PostgreSQL expects it to cost, in pages read one after the other; the same however busy the machine is."""
    found = re.search(r"cost=[0-9.]+\.\.([0-9.]+)", ask(f"EXPLAIN {statement}"))
    assert found is not None
    return float(found[1])


def check_order(order: str) -> None:
    pk = "-pk" if order.startswith("-") else "pk"
    plan = Customer.all_objects.order_by(order, pk).select_related("observation", "organization")[:50].explain()
    assert "Index Scan" in plan
    assert "Seq Scan on polar_sync_customer" not in plan


def check_country(staff: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        staff.get(f"{LIST}?country=XX")
    rows = next(query["sql"] for query in queries if "LEFT(" in query["sql"])
    assert "polar_customer_country" in ask("EXPLAIN " + rows, column=None)


def check_figures(staff: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        figures = compute_figures()
    assert len(queries) <= MOST_QUERIES
    assert max(estimate_cost(query["sql"]) for query in queries) < MOST_COST
    assert figures.customers == ROWS - ROWS // 1000
    assert figures.revenue["usd"] > 0
    assert staff.get("/admin/polar_sync/").status_code == 200


def check_export(staff: Client) -> None:
    """It begins before it has read everything, and leaves no cursor open."""
    answer: Any = staff.get(f"{LIST}export/customers.csv?created_at__year=2024&created_at__month=3")
    lines = iter(answer.streaming_content)
    assert next(lines).startswith(b"id,organization")
    assert b"example.com" in next(lines)
    open_cursors = r"SELECT count(*) FROM pg_cursors WHERE name LIKE '\_django\_curs\_%'"
    assert ask(open_cursors) == "1"
    assert len(list(lines)) == ROWS_OF_MARCH - 1
    assert ask(open_cursors) == "0"


def ask(statement: str, *, column: int | None = 0) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
    return str(rows[0][column]) if column is not None else "\n".join(row[0] for row in rows)
