"""The example project's settings, in a hurry: what a killed process has leased is free again after 5 seconds.

An endpoint that Polar has disabled is enabled again.
"""

from project.settings import *  # noqa: F403
from project.settings import POLAR_SYNC

POLAR_SYNC["LEASE_SECONDS"] = 5
POLAR_SYNC["ENABLE_WEBHOOK_ENDPOINT"] = True
