"""Makes the benchmark's database of mirrored customers anew and prints a bearer token that may read them.

`python -m benchmarks.rest_data CUSTOMERS`, with DJANGO_SETTINGS_MODULE=benchmarks.rest_settings.
"""

from __future__ import annotations

import sys

import django
import psycopg
from django.conf import settings
from django.db import connection

# What the README offers for `query`.
TRIGRAMS = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX polar_customer_trigrams ON polar_sync_customer USING gin
  (lower(email) gin_trgm_ops, lower(name) gin_trgm_ops, lower(billing_name) gin_trgm_ops,
   lower(external_id) gin_trgm_ops);
"""


def create_database() -> None:
    """Anew, beside the one that DATABASE_URL names."""
    parameters = connection.get_connection_params()
    name = settings.DATABASES["default"]["NAME"]
    server = {key: parameters[key] for key in ("host", "port", "user", "password") if key in parameters}
    with psycopg.connect(dbname="postgres", autocommit=True, **server) as maintenance:
        maintenance.execute(f"DROP DATABASE IF EXISTS {name}")
        maintenance.execute(f"CREATE DATABASE {name}")


def fill(count: int) -> str:
    """Make `count` customers and a user who may read them; returns the user's token."""
    # Models can be imported only now.
    from django.contrib.auth.models import Permission, User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from knox.models import AuthToken  # noqa: PLC0415

    from tests.factories import create_organization, make_uuid  # noqa: PLC0415
    from tests.rest.population import TABLES, populate  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    create_organization()
    create_organization("small", polar_id=make_uuid("small"))
    populate(count)
    with connection.cursor() as cursor:
        cursor.execute(TRIGRAMS)
        cursor.execute(f"VACUUM ANALYZE {', '.join(TABLES)}")
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_customer"))
    return str(AuthToken.objects.create(user)[1])


if __name__ == "__main__":
    django.setup()
    create_database()
    sys.stdout.write(fill(int(sys.argv[1])) + "\n")
