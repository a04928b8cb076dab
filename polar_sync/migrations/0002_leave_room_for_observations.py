"""Leave room in the pages of the table that a run updates for every customer, so that its updates stay in place."""

from typing import Any

from django.db import migrations


def set_fillfactor(apps: Any, schema_editor: Any) -> None:
    """PostgreSQL only: 70 per cent, so that an update finds room beside the row and touches no index."""
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("polar_sync", "CustomerObservation")._meta.db_table  # noqa: SLF001 - Django's public name for it
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} SET (fillfactor = 70)")


class Migration(migrations.Migration):
    dependencies = [("polar_sync", "0001_initial")]

    operations = [migrations.RunPython(set_fillfactor, migrations.RunPython.noop, elidable=False)]
