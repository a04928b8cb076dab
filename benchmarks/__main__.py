"""`make bench`: mirroring measured against what a team would otherwise do, everything in one run on one machine.

Each case is a process of its own against one fake Polar server in another, so that CPU time and memory are the case's
alone. Medians of several rounds, the cases in turn, so that a machine that slows down slows all of them.

    python -m benchmarks [--customers 2000] [--rounds 3] [--database sqlite|postgresql] …
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.tables import print_tables

CASES = (
    "naive_first",
    "naive_unchanged",
    "per_customer_first",
    "per_customer_unchanged",
    "batched_first",
    "batched_unchanged",
    "floor_requests",
    "floor_batched_requests",
    "floor_inserts",
)
# What the example project asks of a site that is no developer's.
SITE = {
    "DJANGO_DEBUG": "0",
    "DJANGO_SECRET_KEY": "only-for-a-benchmark-that-serves-nobody-0123456789-abcdefgh",
}
POSTGRESQL = "postgres://postgres@127.0.0.1:5432/test"


def main() -> None:
    """Measure and print."""
    arguments = _read_arguments()
    with serve(arguments.customers) as server:
        for database in arguments.database:
            measured = _measure(arguments, server, database)
            print_tables(measured, database=database, customers=arguments.customers, rounds=arguments.rounds)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", action="append", choices=("sqlite", "postgresql"))
    parser.add_argument("--case", action="append", choices=CASES)
    arguments = parser.parse_args()
    arguments.database = arguments.database or ["sqlite", "postgresql"]
    arguments.case = arguments.case or list(CASES)
    return arguments


@contextmanager
def serve(customers: int) -> Iterator[dict[str, Any]]:
    """A fake Polar server in a process of its own; gives what its first line says: `url`, `access_token`, …."""
    command = [sys.executable, "-m", "polar_sync.testing", "--customers", str(customers), "--port", "0", "--prepare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def _measure(arguments: argparse.Namespace, server: dict[str, Any], database: str) -> dict[str, dict[str, float]]:
    rounds: dict[str, list[dict[str, float]]] = {case: [] for case in arguments.case}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for case in arguments.case:
                rounds[case].append(_run_case(case, server, _get_environment(database, Path(folder), case)))
    return {
        case: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for case, found in rounds.items()
    }


def _get_environment(database: str, folder: Path, case: str) -> Mapping[str, str]:
    """A first run and its unchanged one share a SQLite file; on PostgreSQL a schema."""
    name = case.rpartition("_")[0]
    url = f"sqlite:///{folder / name}.sqlite3" if database == "sqlite" else os.environ.get("POSTGRES_URL", POSTGRESQL)
    return {**os.environ, **SITE, "DATABASE_URL": url, "BENCHMARK_SCHEMA": f"polar_bench_{name}"}


def _run_case(case: str, server: dict[str, Any], environment: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.case", case, server["url"], server["access_token"]]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{case} failed:\n{finished.stderr}")
    result: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
