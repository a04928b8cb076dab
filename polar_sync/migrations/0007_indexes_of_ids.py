"""Indexes of the ids that people search by: of a payment method, a discount, a price."""

from django.db import migrations, models

from polar_sync.migrations._operations import AddIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("polar_sync", "0006_verification")]

    operations = [
        AddIndex(
            model_name="customer",
            index=models.Index(
                fields=["default_payment_method_id"],
                name="polar_customer_payment_method",
                condition=models.Q(default_payment_method_id__isnull=False),
            ),
        ),
        AddIndex(
            model_name="subscription",
            index=models.Index(fields=["price_id"], name="polar_subscription_price"),
        ),
        AddIndex(
            model_name="subscription",
            index=models.Index(
                fields=["discount_id"],
                name="polar_subscription_discount",
                condition=models.Q(discount_id__isnull=False),
            ),
        ),
    ]
