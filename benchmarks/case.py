"""One case, in a process of its own: prints its figures as one JSON line.

`python -m benchmarks.case CASE URL TOKEN`, with the database in `DATABASE_URL`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("POLAR_ACCESS_TOKEN", "")


class StatementCount:
    """Counts statements at the connection, without keeping them."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """Pass a statement on."""
        self.number += 1
        return execute(*arguments)


def main() -> None:
    """Prepare the database, run the case, print what it took."""
    case, url, token = sys.argv[1:]
    django.setup()
    from django.db import connection  # noqa: PLC0415 - only after setup

    from benchmarks import cases  # noqa: PLC0415

    _prepare(case)
    work = cases.make(case, url=url, token=token)
    counter = StatementCount()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with connection.execute_wrapper(counter):
        customers, requests = work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {
        "customers": customers,
        "wall_seconds": wall,
        "cpu_milliseconds": cpu * 1000 / customers,
        "requests": requests,
        "statements": counter.number / customers,
        "peak_mebibytes": after.ru_maxrss / 1024,
    }
    print(json.dumps(figures))  # noqa: T201


def _prepare(case: str) -> None:
    """An empty database for a first run, the one it left for the unchanged one."""
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    is_first = not case.endswith("_unchanged")
    if connection.vendor == "postgresql":
        schema = os.environ["BENCHMARK_SCHEMA"]
        with connection.cursor() as cursor:
            if is_first:
                cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
                cursor.execute(f'CREATE SCHEMA "{schema}"')
        connection.close()
        connection.settings_dict["OPTIONS"] = {"options": f"-c search_path={schema}"}
    if is_first:
        call_command("migrate", verbosity=0)
    else:
        connection.ensure_connection()


if __name__ == "__main__":
    main()
