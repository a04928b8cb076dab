"""How staff look at the mirror."""

from polar_sync.admin.customers import CustomerAdmin
from polar_sync.admin.organizations import OrganizationAdmin
from polar_sync.admin.runs import SyncRunAdmin

__all__ = ["CustomerAdmin", "OrganizationAdmin", "SyncRunAdmin"]
