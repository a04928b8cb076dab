"""What is mirrored, and the record of the runs that mirror it."""

from polar_sync.models.benefit_grant import BenefitGrant
from polar_sync.models.catalogue import Benefit, MeterDefinition, Product
from polar_sync.models.customer import Customer
from polar_sync.models.meter import Meter
from polar_sync.models.observation import CustomerObservation
from polar_sync.models.organization import Organization
from polar_sync.models.primary import on_primary
from polar_sync.models.run import SyncContradiction, SyncFailure, SyncPage, SyncRun
from polar_sync.models.statistics import DailyStatistics
from polar_sync.models.subscription import Subscription, SubscriptionMeter
from polar_sync.models.verification import Verification

__all__ = [
    "Benefit",
    "BenefitGrant",
    "Customer",
    "CustomerObservation",
    "DailyStatistics",
    "Meter",
    "MeterDefinition",
    "Organization",
    "Product",
    "Subscription",
    "SubscriptionMeter",
    "SyncContradiction",
    "SyncFailure",
    "SyncPage",
    "SyncRun",
    "Verification",
    "on_primary",
]
