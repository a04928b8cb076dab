"""Whether memory grows with the organization: peak RSS at one size and at ten times that, on SQLite, from lists.

`python -m benchmarks.memory [--customers 10000]`: of the command, first and with nothing changed, and of a Celery
worker of one process, which needs Redis (`REDIS_URL`, redis://127.0.0.1:6379/9).
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from redis import Redis

from benchmarks.__main__ import SITE, serve

CASES = ("command, first", "command, unchanged", "worker, first")
_REDIS = "redis://127.0.0.1:6379/9"


def main() -> None:
    """Measure both sizes and print their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    size = parser.parse_args().customers
    small, large = measure(size), measure(10 * size)
    for case in CASES:
        print(  # noqa: T201
            f"{case}: {small[case]:.0f} MiB at {size:,} customers, {large[case]:.0f} MiB at {10 * size:,}, "
            f"ratio {large[case] / small[case]:.2f}"
        )


def measure(customers: int) -> dict[str, float]:
    """Peak RSS in MiB of each case."""
    with serve(customers) as server:
        with _make_site(server) as site:
            first = _manage(site, "polar_sync", "--json")
            unchanged = _manage(site, "polar_sync", "--json")
        with _make_site(server) as site:
            worker = _work(site)
    return dict(zip(CASES, (first, unchanged, worker), strict=True))


@contextmanager
def _make_site(server: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a project with an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        site = {
            **os.environ,
            **SITE,
            "DATABASE_URL": f"sqlite:///{Path(folder) / 'memory.sqlite3'}",
            "POLAR_ACCESS_TOKEN": server["access_token"],
            "POLAR_SERVER": server["url"],
            "POLAR_REQUESTS_PER_MINUTE": "1000000",
        }
        _manage(site, "migrate", "--verbosity", "0")
        yield site


def _manage(site: Mapping[str, str], *arguments: str) -> float:
    """Run a management command in a child of a child, so that its peak is its own."""
    code = (
        "import resource, subprocess, sys;"
        f"subprocess.run([sys.executable, 'manage.py', *{arguments!r}], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=site, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / 1024


def _work(site: Mapping[str, str]) -> float:
    """Have one worker do a run, on a queue of its own."""
    queue = f"polar_bench_{uuid4().hex}"
    broker = os.environ.get("REDIS_URL", _REDIS)
    site = {**site, "CELERY_BROKER_URL": broker, "POLAR_BENCH_QUEUE": queue}
    command = [sys.executable, "-m", "celery", "--app", "benchmarks.memory_app", "worker"]
    command += ["--pool", "solo", "--loglevel", "ERROR"]
    with _open_queue(broker, queue), subprocess.Popen(command, env=site, stdout=subprocess.DEVNULL) as worker:
        try:
            code = (
                "from benchmarks import memory_app; from polar_sync import tasks;"
                "tasks.sync_organization.delay('default')"
            )
            subprocess.run([sys.executable, "-c", code], env=site, check=True)
            _wait_for_end(Path(site["DATABASE_URL"].removeprefix("sqlite:///")))
            status = Path(f"/proc/{worker.pid}/status").read_text()
        finally:
            worker.terminate()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def _open_queue(broker: str, queue: str) -> Iterator[None]:
    """Leaves nothing of the queue behind."""
    try:
        yield
    finally:
        with closing(Redis.from_url(broker)) as redis:
            for key in redis.scan_iter(f"*{queue}*"):
                redis.delete(key)


def _wait_for_end(database: Path) -> None:
    while True:
        with closing(sqlite3.connect(database)) as connection:
            row = connection.execute("SELECT status FROM polar_sync_syncrun ORDER BY id DESC LIMIT 1").fetchone()
        if row is not None and row[0] != "running":
            if row[0] != "succeeded":
                sys.exit(f"the worker's run ended as {row[0]}")
            return
        time.sleep(1.0)


if __name__ == "__main__":
    main()
