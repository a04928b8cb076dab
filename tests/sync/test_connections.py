"""What connections of the organizations in the settings share."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings
from redis import Redis

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import BudgetWaitError
from polar_sync.testing import FakePolarServer


def configure(settings: Settings, server: FakePolarServer, **keys: Any) -> None:
    entry = {"ACCESS_TOKEN": server.polar.access_token, "SERVER": server.url, "REQUESTS_PER_MINUTE": 1}
    ids = {"shop": server.polar.organization_id, "store": str(uuid4())}
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {name: {**entry, "ORGANIZATION_ID": id_} for name, id_ in ids.items()},
        **keys,
    }


@pytest.mark.parametrize("order", [("shop", "store"), ("store", "shop")])
def test_organizations_of_one_token_share_one_budget(
    polar_server: FakePolarServer, settings: Settings, order: tuple[str, str]
) -> None:
    configure(settings, polar_server)
    first, second = (sync.connect(polar_settings.get_organization(name), max_wait=0) for name in order)
    with first, second:
        first.list_customers(page=1, limit=1)
        with pytest.raises(BudgetWaitError):
            second.list_customers(page=1, limit=1)
    assert len(polar_server.polar.requests) == 1


def test_shared_budget_shows_no_token_in_redis(
    polar_server: FakePolarServer, settings: Settings, redis_url: str
) -> None:
    configure(settings, polar_server, THROTTLE_STORAGE=redis_url)
    with sync.connect(polar_settings.get_organization("store")) as connection:
        connection.list_customers(page=1, limit=1)
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        keys = [key for key in redis.scan_iter() if "shop" in key]
        assert len(keys) == 1
        assert polar_server.polar.access_token not in str(keys)
