"""An index for containment in metadata, on PostgreSQL alone.

It is made here and is no `GinIndex` of the model: from Django 6.1 on that would oblige every project to install
`django.contrib.postgres`, those on SQLite included. Where the model once had one, it is there already.
"""

from typing import Any

from django.db import migrations

_NAME = "polar_customer_metadata"
_CREATE = f"CREATE INDEX IF NOT EXISTS {_NAME} ON polar_sync_customer USING gin (metadata jsonb_path_ops)"
_DROP = f"DROP INDEX IF EXISTS {_NAME}"


def create_index(_apps: Any, schema_editor: Any) -> None:
    """Elsewhere it is one that nothing uses, and goes."""
    schema_editor.execute(_CREATE if schema_editor.connection.vendor == "postgresql" else _DROP)


def drop_index(_apps: Any, schema_editor: Any) -> None:
    schema_editor.execute(_DROP)


class Migration(migrations.Migration):
    dependencies = [("polar_sync", "0002_leave_room_for_observations")]

    operations = [migrations.RunPython(create_index, drop_index, elidable=False)]
