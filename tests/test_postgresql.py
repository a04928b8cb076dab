"""Databases of tests: no two runs share one, and what killed runs left behind goes."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.postgresql import MAX_NAME_LENGTH, drop_remains, name_database
from tests.services import miss

SERVER = os.environ.get("DATABASE_URL", "")


def test_names_differ_from_run_to_run_and_fit() -> None:
    names = {name_database("x" * length) for length in (1, 1, 100, 100)}
    assert len(names) == 4
    assert max(map(len, names)) <= MAX_NAME_LENGTH


@pytest.fixture
def connection() -> Iterator[psycopg.Connection]:
    server = SERVER if SERVER.startswith("postgres") else "postgres://postgres@127.0.0.1:5432/test"
    address = f"{server.rpartition('/')[0]}/postgres".replace("postgres://", "postgresql://")
    try:
        opened = psycopg.connect(address, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        miss("PostgreSQL does not answer")
    with opened:
        yield opened


def test_only_what_was_left_behind_days_ago_is_dropped(connection: psycopg.Connection) -> None:
    new = name_database("polar_sync_remains")
    day = new.rpartition("_")[0].rpartition("_")[2]
    old, other = new.replace(day, "20200229"), f"{new}_of_others"
    names = [old, new, other]
    try:
        for name in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        drop_remains(connection)
        found = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", [names]).fetchall()
        assert {name for (name,) in found} == {new, other}
    finally:
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
