"""`python -m tests.postgresql postgres://…` says whether that server answers, and exits with 0 when it does."""

import sys
from urllib.parse import urlsplit, urlunsplit

import psycopg


def main(url: str) -> int:
    # The database itself is made by the test run; "postgres" is always there.
    parts = urlsplit(url)
    try:
        with psycopg.connect(
            urlunsplit(parts._replace(scheme="postgresql", path="/postgres")), connect_timeout=3
        ) as connection:
            version = connection.info.server_version // 10000
    except psycopg.OperationalError as error:
        sys.stderr.write(f"PostgreSQL does not answer at {parts.hostname}:{parts.port or 5432}: {error}\n")
        return 1
    sys.stdout.write(f"PostgreSQL {version} answers at {parts.hostname}:{parts.port or 5432}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
