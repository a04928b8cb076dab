"""What a generated benefit grant carries."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

from polar_sync.testing.catalogue import Benefit
from polar_sync.testing.wire import format_timestamp


def build_grant_properties(
    benefit: Benefit, *, rng: random.Random, make_id: Callable[[], str], meter_id: str, created: datetime, number: int
) -> dict[str, Any]:
    """The properties of a grant, by the type of its benefit; some types start out empty.

    `meter_id` is what a meter credit went to, `number` the customer's.
    """
    account = f"account:{number}"
    credited = {
        "last_credited_meter_id": meter_id,
        "last_credited_units": 1_000,
        "last_credited_at": format_timestamp(created),
    }
    every: dict[str, dict[str, Any]] = {
        "discord": {"account_id": account, "guild_id": "123", "role_id": "456", "granted_account_id": account},
        "github_repository": {
            "account_id": None,
            "repository_owner": "acme",
            "repository_name": "private",
            "permission": "pull",
        },
        "downloadables": {"files": [make_id() for _ in range(rng.randrange(3))]},
        "license_keys": {"license_key_id": make_id(), "display_key": f"****-{rng.getrandbits(24):06X}"},
        "meter_credit": rng.choice(({}, credited)),
        "slack_shared_channel": {
            "invited_email": f"slack{number}@example.com",
            "channel_id": f"C{number:08}",
            "channel_name": f"shared-{number}",
        },
    }
    return every.get(benefit.type, {})
