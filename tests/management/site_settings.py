"""The example project's settings, with one request a state, so that a test can say how many are to be asked for."""

from project.settings import *  # noqa: F403
from project.settings import POLAR_SYNC as _POLAR_SYNC

POLAR_SYNC = {**_POLAR_SYNC, "STATE_SOURCE": "per_customer"}
