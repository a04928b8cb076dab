"""The admin at 200,000 customers: few statements a page, none that counts without end, orders from indexes."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.admin.figures import compute_figures
from polar_sync.models import Customer, DailyStatistics, Organization, WebhookFeed
from polar_sync.store.statistics import record_statistics
from tests.factories import ORGANIZATION_ID, create_organization, make_id

ROWS = 200_000
ROWS_OF_MARCH = 31 * 24 * 15
MOST_QUERIES = 10
MOST_QUERIES_OF_A_CUSTOMER = 11
MOST_QUERIES_OF_THE_OVERVIEW = 14
MOST_COST = 60_000  # reading all customers once is 28,000
COST_OF_HALF = 24_000  # less than reading all customers, which is what asking for first and last of them takes
COST_OF_FEW = 500
COST_OF_COUNT = 2_500  # of as many rows as a page counts, by an index
LIST = "/admin/polar_sync/customer/"
HALVES = ("?active=no", "?active=yes", "?observed=stale", "?observed=fresh")
ID = "md5('customer' || n)::uuid"
# Into new files: what earlier tests rolled back is still in the old ones, and reading them would cost for that too.
FILL = f"""
TRUNCATE polar_sync_customer CASCADE;
INSERT INTO polar_sync_customer (id, organization_id, created_at, name, email, external_id, type, billing_address,
        payload, extra, state_extra, email_verified, deleted_at, default_payment_method_id)
    SELECT {ID}, '{ORGANIZATION_ID}', '2024-01-01Z'::timestamptz + n * interval '4 minutes', 'Person ' || n,
        'person' || n || '@example.com', 'usr_' || n, 'individual',
        jsonb_build_object('country', CASE WHEN n % 500 = 0 THEN 'IS' ELSE 'FR' END),
        '{{"some": "' || repeat('payload ', 100) || '"}}',
        '', '', true, CASE WHEN n % 1000 = 0 THEN now() END,
        CASE WHEN n % 5 = 1 THEN md5('payment method' || n)::uuid END
    FROM generate_series(1, {ROWS}) n;
INSERT INTO polar_sync_customerobservation (customer_id, observed_at, state_observed_at)
    SELECT {ID}, now(), now() - (n % 200) * interval '1 hour' FROM generate_series(1, {ROWS}) n;
INSERT INTO polar_sync_subscription (id, customer_id, created_at, started_at, status, amount, currency,
        recurring_interval, is_in_state, product_id, price_id, discount_id, payload)
    SELECT md5('subscription' || n)::uuid, {ID}, '2024-01-01Z'::timestamptz + n * interval '4 minutes',
        '2024-01-01Z'::timestamptz + n * interval '4 minutes', CASE WHEN n % 900 = 0 THEN 'trialing' ELSE 'active' END,
        2000, 'usd', 'month', true, md5('product' || n % 7)::uuid, md5('price' || n % 7)::uuid,
        CASE WHEN n % 10 = 1 THEN md5('discount' || n % 20000)::uuid END, '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_subscriptionmeter (id, subscription_id, created_at, meter_id, consumed_units, payload)
    SELECT md5('subscription meter' || n)::uuid, md5('subscription' || n)::uuid, now(), md5('definition1')::uuid, n,
        '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_benefitgrant (id, customer_id, created_at, benefit_id, benefit_type, payload)
    SELECT md5('grant' || n)::uuid, {ID}, now(), md5('benefit' || n % 9)::uuid, 'custom', '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_meter (id, customer_id, created_at, meter_id, consumed_units, credited_units, balance, payload)
    SELECT md5('meter' || n)::uuid, {ID}, now(), md5('definition' || n % 5)::uuid, n, 100, 100 - n % 110, '{{}}'
    FROM generate_series(1, {ROWS}, 2) n;
INSERT INTO polar_sync_webhookdelivery (organization_id, webhook_id, type, timestamp, received_at, via, customer_id,
        payload, status, reason, attempts)
    SELECT (SELECT id FROM polar_sync_organization), md5('delivery' || n)::uuid, 'customer.state_changed',
        now() - (200000 - n) * interval '1 second', now() - (200000 - n) * interval '1 second',
        CASE WHEN n % 1000 = 0 THEN 'feed' ELSE 'webhook' END, md5('customer' || n % 50000)::uuid,
        '{{"some": "' || repeat('payload ', 100) || '"}}',
        CASE WHEN n % 20000 = 0 THEN 'failed' WHEN n % 10000 = 1 THEN 'received' ELSE 'processed' END, '', 1
    FROM generate_series(1, {ROWS}) n;
ANALYZE polar_sync_customer; ANALYZE polar_sync_customerobservation; ANALYZE polar_sync_subscription;
ANALYZE polar_sync_subscriptionmeter; ANALYZE polar_sync_benefitgrant; ANALYZE polar_sync_meter;
ANALYZE polar_sync_webhookdelivery; ANALYZE polar_sync_organization;
"""
DELIVERIES = (
    "",
    "?p=40",
    "?status=failed",
    "?status=received",
    "?status=stale",
    "?type=customer.state_changed",
    "?type=other",
    "?via=feed",
    f"?organization={ORGANIZATION_ID}",
    "?q={delivery}",
    "?q={customer}",
    f"?q={make_id('nobody')}",
    "?q=nothing-like-it",
)
FIND = "SELECT md5('subscription1001')::uuid"
# Every place where an id can be, with the index that says whether it is there, and a customer who has it there.
IDS = {
    "customer1001": "polar_sync_customer_pkey",
    "payment method1001": "polar_customer_payment_method",
    "subscription1001": "polar_sync_subscription_pkey",
    "product0": "polar_subscription_product",
    "price0": "polar_subscription_price",
    "discount1001": "polar_subscription_discount",
    "subscription meter1001": "polar_sync_subscriptionmeter_pkey",
    "grant1001": "polar_sync_benefitgrant_pkey",
    "benefit2": "polar_grant_benefit",
    "meter1001": "polar_sync_meter_pkey",
    "definition1": "polar_meter_balance",
}
# Column and direction of lists where all rows have the same there, but for the last.
ORDERS = {
    "subscription/?o=5": "polar_subscription_period_end",
    "subscription/?o=-5": "polar_subscription_period_end",
    "benefitgrant/?o=4": "polar_grant_created",
    "benefitgrant/?o=-4": "polar_grant_created",
    "meter/?o=7": "polar_meter_created",
    "customer/?o=1": "polar_customer_name",
}
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
    staff = make_client("sync_organization", "export_customers", "process_webhookdelivery")
    product, one = (
        ask("SELECT md5('product3')::uuid"),
        ask("SELECT id FROM polar_sync_customer WHERE name = 'Person 1001'"),
    )
    children = [f"/admin/polar_sync/{model}/" for model in ("subscription", "benefitgrant", "meter", "syncrun")]
    lists = [LIST + query.format(product=product) for query in PAGES]
    searches = [f"{LIST}?q={one}", f"{LIST}?q={ask(FIND)}", "/admin/polar_sync/meter/?balance=below&o=5"]
    keys = {"delivery": ask("SELECT md5('delivery77')::uuid"), "customer": ask("SELECT md5('customer77')::uuid")}
    deliveries = [f"/admin/polar_sync/webhookdelivery/{query.format(**keys)}" for query in DELIVERIES]
    delivery = ask("SELECT max(id) FROM polar_sync_webhookdelivery")
    pages = [f"{LIST}{one}/change/", f"/admin/polar_sync/webhookdelivery/{delivery}/change/"]
    for url in [*lists, *children, *searches, *deliveries, *pages]:
        with subtests.test(url):
            check_page(staff, url)
    for order in ("name", "-name", "email", "external_id", "created_at", "-created_at"):
        with subtests.test(order):
            check_order(order)
    for url, index in ORDERS.items():
        with subtests.test(url):
            check_sorted_by_index(staff, f"/admin/polar_sync/{url}", index)
    with subtests.test("deliveries"):
        check_deliveries(staff, **keys)
    with subtests.test("ids"):
        check_ids(staff)
    for query in HALVES:
        with subtests.test(query):
            check_half(staff, LIST + query)
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
    is_customer = url.startswith(LIST) and url.endswith("/change/")
    assert len(statements) <= (MOST_QUERIES_OF_A_CUSTOMER if is_customer else MOST_QUERIES), statements
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


def check_sorted_by_index(staff: Client, url: str, index: str) -> None:
    """The page is read off the index, however many rows are alike in the column."""
    rows = next(sql for sql in list_statements(staff, url) if "LIMIT 50" in sql)
    plan = ask(f"EXPLAIN {rows}", column=None)
    assert index in plan
    assert "Sort" not in plan, plan


def check_ids(staff: Client) -> None:
    """Where an id occurs is asked of an index each; the customer who has it is then found by that one condition."""
    (places,) = (sql for sql in list_statements(staff, f"{LIST}?q={make_id('nobody')}") if "EXISTS" in sql)
    plan = ask(f"EXPLAIN {places}", column=None)
    assert not re.search("Seq Scan on polar_sync_(?!organization)", plan), plan
    others = ("polar_customer_organization", "polar_customer_external_id")
    assert not [index for index in (*IDS.values(), *others) if index not in plan], plan
    for name in IDS:
        key = ask(f"SELECT md5('{name}')::uuid")
        statements = list_statements(staff, f"{LIST}?q={key}")
        assert not [sql for sql in statements if " UNION " in sql and "polar_sync_customer" in sql], name
        assert max(map(estimate_cost, statements)) < MOST_COST, name
        if name.endswith("1001"):
            assert "Person 1001<" in staff.get(f"{LIST}?q={key}").content.decode(), name
            assert max(map(estimate_cost, statements)) < COST_OF_FEW, name


def check_deliveries(staff: Client, *, delivery: str, customer: str) -> None:
    """Each is found by an index, and the newest are read off the one of their ids."""
    root = "/admin/polar_sync/webhookdelivery/"
    for query, index in (
        (f"?q={delivery}", "polar_delivery_once"),
        (f"?q={customer}", "polar_delivery_customer"),
        ("?status=failed", "polar_delivery_failed"),
        ("?status=received", "polar_delivery_pending"),
        ("", "polar_sync_webhookdelivery_pkey"),
    ):
        statements = list_statements(staff, root + query)
        (rows,) = (sql for sql in statements if sql.startswith('SELECT "polar_sync_webhookdelivery"') and "DESC" in sql)
        plan = ask(f"EXPLAIN {rows}", column=None)
        assert index in plan, plan
        assert "Seq Scan on polar_sync_webhookdelivery" not in plan, plan
        assert max(map(estimate_cost, statements)) < COST_OF_COUNT, query


def check_half(staff: Client, url: str) -> None:
    """What many customers match is not read to its end, neither for the page nor for the dates above it."""
    costs = {sql: estimate_cost(sql) for sql in list_statements(staff, url)}
    assert max(costs.values()) < COST_OF_HALF, costs


def list_statements(staff: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(url).status_code == 200
    return [query["sql"] for query in queries if query["sql"].startswith("SELECT")]


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
    with CaptureQueriesContext(connection) as queries:
        record_statistics(Organization.objects.get())
    costs = [estimate_cost(query["sql"]) for query in queries if query["sql"].startswith("SELECT")]
    assert len(costs) == 2
    assert max(costs) < MOST_COST
    assert DailyStatistics.objects.get().customers == ROWS - ROWS // 1000
    assert figures.customers == ROWS - ROWS // 1000
    assert figures.revenue["usd"] > 0
    check_overview(staff)
    check_page(staff, "/")


def check_overview(staff: Client) -> None:
    """With figures from the cache; what is asked of deliveries anew is read off indexes."""
    now = timezone.now()
    organization = Organization.objects.get()
    Organization.objects.update(complete_as_of=now - timedelta(days=1))
    WebhookFeed.objects.create(organization=organization, failed_read_until=now)
    assert staff.get("/admin/polar_sync/").status_code == 200
    statements = list_statements(staff, "/admin/polar_sync/")
    assert len(statements) <= MOST_QUERIES_OF_THE_OVERVIEW, statements
    asked = [sql for sql in statements if "polar_sync_webhookdelivery" in sql]
    plans = "\n".join(ask(f"EXPLAIN {sql}", column=None) for sql in asked)
    changes = list_statements(staff, f"{LIST}changes.json")
    assert "polar_customer_synced" in ask(f"EXPLAIN {changes[-1]}", column=None)
    assert max(map(estimate_cost, changes)) < COST_OF_FEW
    indexes = ("received", "pending", "failed", "unprocessed")
    assert [name for name in indexes if f"polar_delivery_{name}" not in plans] == [], plans
    assert "Seq Scan on polar_sync_webhookdelivery" not in plans
    assert max(map(estimate_cost, asked)) < MOST_COST


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
