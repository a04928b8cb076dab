"""What is mirrored, and the record of the runs that mirror it."""

from polar_sync.models.base import on_primary
from polar_sync.models.benefit_grant import BenefitGrant
from polar_sync.models.catalogue import Benefit, MeterDefinition, Product
from polar_sync.models.customer import Customer, CustomerObservation
from polar_sync.models.meter import Meter
from polar_sync.models.organization import DailyStatistics, Organization, Verification
from polar_sync.models.run import SyncContradiction, SyncFailure, SyncPage, SyncRun
from polar_sync.models.subscription import Subscription, SubscriptionMeter
from polar_sync.models.webhook import PendingRefresh, WebhookDelivery, WebhookFeed

__all__ = [
    "Benefit",
    "BenefitGrant",
    "Customer",
    "CustomerObservation",
    "DailyStatistics",
    "Meter",
    "MeterDefinition",
    "Organization",
    "PendingRefresh",
    "Product",
    "Subscription",
    "SubscriptionMeter",
    "SyncContradiction",
    "SyncFailure",
    "SyncPage",
    "SyncRun",
    "Verification",
    "WebhookDelivery",
    "WebhookFeed",
    "on_primary",
]
