"""What more workers bring: one run on PostgreSQL by one process and by four, the server in a process of its own.

`python -m benchmarks.workers [--customers 4000] [--rounds 3]`
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks.__main__ import POSTGRESQL, SITE, serve

_PREPARE = """
import django; django.setup()
from django.core.management import call_command
from django.db import connection
connection.settings_dict["OPTIONS"] = {}
with connection.cursor() as cursor:
    cursor.execute('DROP SCHEMA IF EXISTS polar_bench_workers CASCADE')
    cursor.execute('CREATE SCHEMA polar_bench_workers')
connection.close()
connection.settings_dict["OPTIONS"] = {"options": "-c search_path=polar_bench_workers"}
call_command("migrate", verbosity=0)
from polar_sync import sync
from polar_sync.conf import settings
print(sync.begin_run(settings.get_organization("default")).pk)
"""
_WORK = """
import sys, time
import django; django.setup()
from django.db import connection
connection.settings_dict["OPTIONS"] = {"options": "-c search_path=polar_bench_workers"}
from polar_sync import sync
from polar_sync.conf import settings
with sync.connect(settings.get_organization("default")) as opened:
    while True:
        step = sync.take_step(int(sys.argv[1]), opened)
        if step.progress is sync.Progress.ENDED:
            break
        if step.progress is sync.Progress.IDLE:
            time.sleep(0.01)
"""


def main() -> None:
    """Measure both and print their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with serve(arguments.customers) as server:
        environment = {
            **os.environ,
            **SITE,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": os.environ.get("POSTGRES_URL", POSTGRESQL),
            "POLAR_ACCESS_TOKEN": server["access_token"],
            "POLAR_SERVER": server["url"],
            "POLAR_REQUESTS_PER_MINUTE": "1000000",
        }
        seconds: dict[int, list[float]] = {1: [], 4: []}
        for _ in range(arguments.rounds):
            for number, found in seconds.items():
                found.append(measure(number, environment))
    rates = {number: arguments.customers / statistics.median(found) for number, found in seconds.items()}
    for number, rate in rates.items():
        print(f"{number} processes: {rate:,.0f} customers/s")  # noqa: T201
    print(f"ratio: {rates[4] / rates[1]:.2f}")  # noqa: T201


def measure(number: int, environment: dict[str, str]) -> float:
    """Seconds that a first run takes so many processes, their start not counted out."""
    prepared = subprocess.run(
        [sys.executable, "-c", _PREPARE], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    run = prepared.stdout.split()[-1]
    started = time.perf_counter()
    workers = [subprocess.Popen([sys.executable, "-c", _WORK, run], env=environment) for _ in range(number)]
    if any(worker.wait() for worker in workers):
        sys.exit("a worker failed")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
