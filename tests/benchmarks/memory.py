"""Whether memory grows with the organization: the command's peak RSS at one size and at ten times that.

`python -m tests.benchmarks.memory [--customers 10000]`; from lists, on SQLite, and again with nothing changed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.__main__ import serve


def main() -> None:
    """Measure both sizes and print their ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    size = parser.parse_args().customers
    small, large = measure(size), measure(10 * size)
    for customers, peaks in ((size, small), (10 * size, large)):
        print(f"{customers:>9,} customers: {peaks[0]:.0f} MiB first, {peaks[1]:.0f} MiB unchanged")  # noqa: T201
    print(f"ratio: {large[0] / small[0]:.2f} first, {large[1] / small[1]:.2f} unchanged")  # noqa: T201


def measure(customers: int) -> tuple[float, float]:
    """Peak RSS in MiB of a first and of an unchanged run of the command."""
    with serve(customers) as server, tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{Path(folder) / 'memory.sqlite3'}",
            "POLAR_ACCESS_TOKEN": server["access_token"],
            "POLAR_SERVER": server["url"],
            "POLAR_REQUESTS_PER_MINUTE": "1000000",
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": "only-for-a-benchmark-that-serves-nobody-0123456789-abcdefgh",
        }
        _manage(environment, "migrate", "--verbosity", "0")
        return _manage(environment, "polar_sync", "--json"), _manage(environment, "polar_sync", "--json")


def _manage(environment: dict[str, str], *arguments: str) -> float:
    """Run a management command in a child of a child, so that its peak is its own."""
    code = (
        "import resource, subprocess, sys;"
        f"subprocess.run([sys.executable, 'manage.py', *{arguments!r}], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()
