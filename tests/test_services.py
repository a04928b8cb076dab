"""The Redis of the tests is empty, nobody else's, and never somebody's data."""

import pytest
from redis import Redis

from tests import services
from tests.services import REDIS_LOCK, REDIS_MARKER, claim_database


@pytest.mark.parametrize("time", ["first", "second"])
def test_redis_database_is_empty_but_for_its_lock(redis_url: str, time: str) -> None:
    with Redis.from_url(redis_url) as connection:
        assert {bytes(key).decode() for key in connection.scan_iter()} == {REDIS_LOCK, REDIS_MARKER}
        connection.set("left behind", 1)


def test_redis_database_in_use_is_not_claimed_again(redis_url: str) -> None:
    with Redis.from_url(redis_url) as connection:
        assert not claim_database(connection)


def test_remains_of_an_earlier_run_are_claimed_and_data_of_others_is_not(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under names of its own, so that nobody else claims the database meanwhile.
    for name in ("REDIS_LOCK", "REDIS_MARKER"):
        monkeypatch.setattr(services, name, f"{getattr(services, name)}:another")
    with Redis.from_url(redis_url) as connection:
        connection.set("left behind", 1)
        assert not claim_database(connection)
        connection.set(services.REDIS_MARKER, 1)
        assert claim_database(connection)
        assert not connection.exists("left behind")
        assert not claim_database(connection)
