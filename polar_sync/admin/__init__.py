"""How staff look at the mirror, and steer it."""

from polar_sync.admin.catalogue import CatalogueAdmin
from polar_sync.admin.children import BenefitGrantAdmin, MeterAdmin, SubscriptionAdmin
from polar_sync.admin.customers import CustomerAdmin
from polar_sync.admin.deliveries import WebhookDeliveryAdmin
from polar_sync.admin.organizations import OrganizationAdmin
from polar_sync.admin.runs import SyncRunAdmin

__all__ = [
    "BenefitGrantAdmin",
    "CatalogueAdmin",
    "CustomerAdmin",
    "MeterAdmin",
    "OrganizationAdmin",
    "SubscriptionAdmin",
    "SyncRunAdmin",
    "WebhookDeliveryAdmin",
]
