"""What is mirrored, and the record of the runs that mirror it."""

from polar_sync.models.benefit_grant import BenefitGrant
from polar_sync.models.catalogue import Benefit, MeterDefinition, Product
from polar_sync.models.customer import Customer
from polar_sync.models.meter import Meter
from polar_sync.models.observation import CustomerObservation
from polar_sync.models.organization import Organization
from polar_sync.models.run import SyncFailure, SyncPage, SyncRun
from polar_sync.models.subscription import Subscription, SubscriptionMeter

__all__ = [
    "Benefit",
    "BenefitGrant",
    "Customer",
    "CustomerObservation",
    "Meter",
    "MeterDefinition",
    "Organization",
    "Product",
    "Subscription",
    "SubscriptionMeter",
    "SyncFailure",
    "SyncPage",
    "SyncRun",
]
