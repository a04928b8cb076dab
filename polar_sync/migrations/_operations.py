"""Operations of more than one migration."""

from typing import Any

from django.db import migrations


class AddIndex(migrations.AddIndex):
    """Django's; on PostgreSQL concurrently, for which the migration must not be atomic.

    Readers and writers go on meanwhile, under a lock (`SHARE UPDATE EXCLUSIVE`) that keeps out only other changes of
    the table's schema, where a plain index makes every writer wait until it is built. Django's own operation for that
    is PostgreSQL's alone.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            # One that was begun and given up is there, and serves nobody.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
            schema_editor.add_index(model, self.index, concurrently=True)
