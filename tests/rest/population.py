"""Many mirrored customers at once, made by PostgreSQL itself; nobody else's hands write mirrored rows so."""

from __future__ import annotations

from django.db import connection

from tests.factories import ORGANIZATION_ID, make_uuid

COUNT = 200_000
TABLES = tuple(
    f"polar_sync_{name}" for name in ("customer", "customerobservation", "subscription", "benefitgrant", "meter")
)
SMALL_EVERY = 1000
"""One customer in so many is of the organization `small`."""

_CUSTOMERS = """
INSERT INTO polar_sync_customer
  (id, organization_id, external_id, email, name, billing_name, type, email_verified, created_at, modified_at, metadata,
   payload, extra, state_extra, synced_at)
SELECT id, organization_id, 'usr_' || n, email, name, name, 'individual', true, created_at, null, metadata::jsonb,
  json_build_object('id', id, 'created_at', created_at, 'modified_at', null, 'metadata', metadata::json, 'external_id',
    'usr_' || n, 'email', email, 'email_verified', true, 'type', 'individual', 'name', name, 'billing_name', name,
    'billing_address', json_build_object('line1', n || ' Main St', 'line2', null, 'postal_code', '94104', 'city',
    'San Francisco', 'state', 'US-CA', 'country', 'US'), 'tax_id', null, 'locale', null, 'organization_id',
    organization_id, 'default_payment_method_id', null, 'deleted_at', null, 'first_user_event_at', null, 'avatar_url',
    'https://avatars.example/' || md5(email))::text, '', '', now() - interval '1 day'
FROM (
  SELECT n, ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
    CASE WHEN n %% {every} = 0 THEN %s::uuid ELSE %s::uuid END AS organization_id,
    'user ' || n || '@example.com' AS email,
    (ARRAY['Ada', 'Grace', 'Alan', 'Zoë', 'José', '李'])[1 + n %% 6] || ' ' || md5(n::text) AS name,
    timestamptz '2025-01-01' + (n / 3) * interval '1 second' AS created_at,
    '{{"plan": "' || CASE WHEN n %% 500 = 0 THEN 'rare' ELSE 'pro' END || '", "number": ' || n || '}}' AS metadata
  FROM generate_series(1, %s) AS n
) AS made
"""
_OBSERVATIONS = """
INSERT INTO polar_sync_customerobservation (customer_id, observed_at, extra_observed_at, state_observed_at)
SELECT id, now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 hour' FROM polar_sync_customer
"""
_SUBSCRIPTIONS = """
INSERT INTO polar_sync_subscription
  (id, customer_id, status, amount, currency, created_at, current_period_end, product_id, cancel_at_period_end,
   is_in_state, payload)
SELECT ('00000000-0000-4000-9000-' || right(id::text, 12))::uuid, id,
  CASE WHEN n %% 500 = 0 THEN 'past_due' ELSE 'active' END, 1000, 'usd', created_at,
  timestamptz '2026-01-01' + n * interval '1 minute', CASE WHEN n %% 500 = 0 THEN %s::uuid ELSE %s::uuid END, false,
  n %% 500 != 0, json_build_object('id', '00000000-0000-4000-9000-' || right(id::text, 12), 'status', 'active',
    'amount', 1000, 'currency', 'usd', 'created_at', created_at, 'meters', json_build_array())::text
FROM (SELECT id, created_at, (metadata ->> 'number')::int AS n FROM polar_sync_customer) AS customer
"""
_GRANTS = """
INSERT INTO polar_sync_benefitgrant (id, customer_id, created_at, granted_at, benefit_id, benefit_type, payload)
SELECT ('00000000-0000-4000-a000-' || right(id::text, 12))::uuid, id, created_at, created_at,
  CASE WHEN n %% 500 = 0 THEN %s::uuid ELSE %s::uuid END, CASE WHEN n %% 500 = 0 THEN 'rare' ELSE 'custom' END,
  json_build_object('id', '00000000-0000-4000-a000-' || right(id::text, 12), 'benefit_type', 'custom')::text
FROM (SELECT id, created_at, (metadata ->> 'number')::int AS n FROM polar_sync_customer) AS customer
"""
_METERS = """
INSERT INTO polar_sync_meter (id, customer_id, created_at, meter_id, consumed_units, credited_units, balance, payload)
SELECT ('00000000-0000-4000-b000-' || right(id::text, 12))::uuid, id, created_at,
  CASE WHEN n %% 500 = 0 THEN %s::uuid ELSE %s::uuid END, 5, 0, n * 7919 %% 10000 - 1000,
  json_build_object('id', '00000000-0000-4000-b000-' || right(id::text, 12), 'balance', n * 7919 %% 10000 - 1000)::text
FROM (SELECT id, created_at, (metadata ->> 'number')::bigint AS n FROM polar_sync_customer) AS customer
"""


def populate(count: int) -> None:
    """`count` customers, each with a subscription, a grant and a meter; one in 500 has the rare ones."""
    with connection.cursor() as cursor:
        # Into new files: what other tests rolled back is still in the old ones, and plans reckon with their size.
        cursor.execute("TRUNCATE polar_sync_customer CASCADE")
        # Every row's owner is made here too; to look it up again would take longer than making the rows.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(_CUSTOMERS.format(every=SMALL_EVERY), [str(make_uuid("small")), str(ORGANIZATION_ID), count])
        cursor.execute(_OBSERVATIONS)
        for statement in (_SUBSCRIPTIONS, _GRANTS, _METERS):
            cursor.execute(statement, [str(make_uuid("rare")), str(make_uuid("common"))])
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute(f"ANALYZE {', '.join(TABLES)}")
