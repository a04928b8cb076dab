"""Indexes of what the admin asks for most: which customers changed last, and which deliveries failed or wait."""

from django.db import migrations, models

from polar_sync.migrations._operations import AddIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("polar_sync", "0009_webhooks")]

    operations = [
        AddIndex(
            model_name="customer",
            index=models.Index(fields=["synced_at", "id"], name="polar_customer_synced"),
        ),
        AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                fields=["organization", "id"],
                name="polar_delivery_failed",
                condition=models.Q(status="failed"),
            ),
        ),
        AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                fields=["organization", "timestamp"],
                name="polar_delivery_unprocessed",
                condition=models.Q(status__in=("received", "failed")),
            ),
        ),
    ]
