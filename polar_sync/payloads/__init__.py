"""Polar's JSON: read tolerantly, kept whole, given back. No Django here.

Shapes follow https://polar.sh/docs/api-reference/customers/state.
"""

from polar_sync.payloads.canonical import dump_canonical, is_equal, load_canonical
from polar_sync.payloads.interval import STATE_AGE, Interval
from polar_sync.payloads.kinds import BENEFIT_GRANT, CUSTOMER, METER, SUBSCRIPTION, SUBSCRIPTION_METER, Kind
from polar_sync.payloads.objects import (
    CustomerPayload,
    StatePayload,
    read_customer,
    read_id,
    read_object,
    read_state,
)
from polar_sync.payloads.values import project_key

__all__ = [
    "BENEFIT_GRANT",
    "CUSTOMER",
    "METER",
    "STATE_AGE",
    "SUBSCRIPTION",
    "SUBSCRIPTION_METER",
    "CustomerPayload",
    "Interval",
    "Kind",
    "StatePayload",
    "dump_canonical",
    "is_equal",
    "load_canonical",
    "project_key",
    "read_customer",
    "read_id",
    "read_object",
    "read_state",
]
