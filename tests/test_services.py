"""The Redis of the tests is empty, nobody else's, and never somebody's data."""

from redis import Redis

from tests.conftest import REDIS_LOCK, claim_database


def test_redis_database_is_empty_but_for_its_lock(redis_url: str) -> None:
    with Redis.from_url(redis_url) as connection:
        assert {bytes(key).decode() for key in connection.scan_iter()} == {REDIS_LOCK, f"{REDIS_LOCK}:marker"}
        connection.set("left behind", 1)


def test_redis_database_in_use_is_not_claimed_again(redis_url: str) -> None:
    with Redis.from_url(redis_url) as connection:
        assert not claim_database(connection)


def test_remains_of_an_earlier_run_are_claimed_and_data_of_others_is_not(redis_url: str) -> None:
    with Redis.from_url(redis_url) as connection:
        connection.delete(REDIS_LOCK)
        connection.set("left behind", 1)
        assert claim_database(connection)
        connection.delete(REDIS_LOCK, f"{REDIS_LOCK}:marker")
        try:
            assert not claim_database(connection)
        finally:
            connection.delete("left behind")
            assert claim_database(connection)
