"""Requests a second and latency of the REST API on PostgreSQL.

    DATABASE_URL=postgres://postgres@127.0.0.1:5432/postgres python -m benchmarks.rest [customers …]

Makes a database of its own beside the given one, serves it as the README tells to, and asks over four connections for
five seconds each; beside it a bare Django view with one query. The trigram index that the README offers is made too.
The one who asks shares the machine with those who answer.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from benchmarks.__main__ import POSTGRESQL

SECONDS = 5.0
CONNECTIONS = 4
GUNICORN = ("--workers", "2", "--threads", "2")
# Of Polar's own server on a machine with two cores, 950 customers, 4 connections.
POLAR = {"get": 246, "state": 205, "list of 100": 113, "query": 68}


def main(counts: list[int]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.rest_settings"
    os.environ.setdefault("DJANGO_DEBUG", "1")
    for count in counts:
        token = prepare(count)
        with serve() as port:
            for name, make_path in build_paths(count).items():
                rates, latencies = measure(port, token, make_path)
                sys.stdout.write(describe(count, name, rates, latencies) + "\n")
                sys.stdout.flush()


def prepare(count: int) -> str:
    """Make the database anew in a process of its own; returns a bearer token."""
    arguments = [sys.executable, "-m", "benchmarks.rest_data", str(count)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[-1]


def build_paths(count: int) -> dict[str, Callable[[], str]]:
    """What is asked for: other customers and pages each time."""

    def pick() -> int:
        return random.randint(1, count)

    def make_id() -> str:
        return f"00000000-0000-4000-8000-{pick():012x}"

    return {
        "bare view": lambda: f"/bare/{make_id()}",
        "get": lambda: f"/polar/v1/customers/{make_id()}",
        "state": lambda: f"/polar/v1/customers/{make_id()}/state",
        "list of 100": lambda: f"/polar/v1/customers/?limit=100&page={random.randint(1, 10)}",
        "query": lambda: f"/polar/v1/customers/?query=ser%20{pick()}@",
    }


@contextmanager
def serve() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    arguments = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    server = subprocess.Popen([sys.executable, "-m", "gunicorn", *arguments, "project.wsgi:application"])
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def measure(port: int, token: str, make_path: Callable[[], str]) -> tuple[float, list[float]]:
    """Requests a second over all connections, and the seconds that each took."""
    ask(port, token, make_path, seconds=1.0, into=[])
    latencies: list[float] = []
    threads = [
        threading.Thread(target=ask, args=(port, token, make_path), kwargs={"seconds": SECONDS, "into": latencies})
        for _ in range(CONNECTIONS)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / (time.perf_counter() - began), latencies


def ask(port: int, token: str, make_path: Callable[[], str], *, seconds: float, into: list[float]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.perf_counter() + seconds
    while (now := time.perf_counter()) < deadline:
        connection.request("GET", make_path(), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {body[:300]!r}")
        into.append(time.perf_counter() - now)
    connection.close()


def describe(count: int, name: str, rate: float, latencies: list[float]) -> str:
    cuts = statistics.quantiles(latencies, n=100)
    return json.dumps(
        {
            "customers": count,
            "request": name,
            "per_second": round(rate),
            "times_polar": round(rate / POLAR[name], 1) if name in POLAR else None,
            "p50_ms": round(cuts[49] * 1000, 1),
            "p95_ms": round(cuts[94] * 1000, 1),
            "p99_ms": round(cuts[98] * 1000, 1),
        }
    )


if __name__ == "__main__":
    # The children of this process prepare and serve on the database that it names.
    os.environ.setdefault("DATABASE_URL", POSTGRESQL)
    main([int(one) for one in sys.argv[1:]] or [1000, 200_000])
