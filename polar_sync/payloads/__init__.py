"""Polar's JSON: read tolerantly, kept whole, given back. No Django here.

Shapes follow https://polar.sh/docs/api-reference/customers/state.
"""

from polar_sync.payloads.canonical import dump_canonical, is_equal, load_canonical
from polar_sync.payloads.interval import STATE_AGE, Interval
from polar_sync.payloads.objects import (
    CustomerPayload,
    StatePayload,
    read_customer,
    read_id,
    read_state,
)
from polar_sync.payloads.projection import CUSTOMER, GRANT, METER, SUBSCRIPTION, SUBSCRIPTION_METER, Projection
from polar_sync.payloads.values import project_key

__all__ = [
    "CUSTOMER",
    "GRANT",
    "METER",
    "STATE_AGE",
    "SUBSCRIPTION",
    "SUBSCRIPTION_METER",
    "CustomerPayload",
    "Interval",
    "Projection",
    "StatePayload",
    "dump_canonical",
    "is_equal",
    "load_canonical",
    "project_key",
    "read_customer",
    "read_id",
    "read_state",
]
