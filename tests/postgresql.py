"""PostgreSQL databases that tests make, under names that no other test run has.

`python -m tests.postgresql postgres://…` says whether that server answers, and exits with 0 when it does.
"""

import re
import sys
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

MAX_NAME_LENGTH = 63
KEPT = timedelta(days=1)
_NAME = re.compile(r"test_.*_([0-9]{8})_[0-9a-f]{8}")


def name_database(name: str, *, run: str = "") -> str:
    """A name for a database of this test run alone: what it is for, the day, and something that no other run has."""
    ending = f"_{datetime.now(tz=UTC).date():%Y%m%d}_{(run or uuid4().hex)[:8]}"
    return f"test_{name}"[: MAX_NAME_LENGTH - len(ending)] + ending


def drop_remains(connection: psycopg.Connection) -> None:
    """Drop what test runs left behind that were killed more than a day ago."""
    used = "SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL"
    for (name,) in connection.execute(f"SELECT datname FROM pg_database WHERE datname NOT IN ({used})").fetchall():
        found = _NAME.fullmatch(name)
        if found and date.fromisoformat(found[1]) < datetime.now(tz=UTC).date() - KEPT:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def main(url: str) -> int:
    # The database itself is made by the test run; "postgres" is always there.
    parts = urlsplit(url)
    address = urlunsplit(parts._replace(scheme="postgresql", path="/postgres"))
    try:
        with psycopg.connect(address, connect_timeout=3, autocommit=True) as connection:
            version = connection.info.server_version // 10000
            drop_remains(connection)
    except psycopg.OperationalError as error:
        sys.stderr.write(f"PostgreSQL does not answer at {parts.hostname}:{parts.port or 5432}: {error}\n")
        return 1
    sys.stdout.write(f"PostgreSQL {version} answers at {parts.hostname}:{parts.port or 5432}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
