"""Real worker processes on Redis and a PostgreSQL database of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery
from psycopg import sql

from tests.postgresql import name_database
from tests.services import PROJECT, miss

POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
PATIENCE = 120.0


@contextmanager
def make_database() -> Iterator[str]:
    """A new, empty PostgreSQL database; gives its URL."""
    given = os.environ.get("DATABASE_URL", "")
    admin = given if given.startswith("postgres") else POSTGRES
    server = admin.rpartition("/")[0]
    try:
        connection = psycopg.connect(
            f"{server}/postgres".replace("postgres://", "postgresql://"), autocommit=True, connect_timeout=3
        )
    except psycopg.OperationalError:
        miss("PostgreSQL does not answer")
    name = name_database("polar_sync_workers")
    with connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{server}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass
class Fleet:
    """Workers by name, all on one site; `directory` is for their files."""

    directory: Path
    environment: dict[str, str]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_worker(self, name: str) -> None:
        """Start a worker of one process, which does one task at a time."""
        options = [
            "--pool",
            "solo",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel",
            "INFO",
        ]
        self.get_busy_file(name).unlink(missing_ok=True)
        log = (self.directory / f"{name}.log").open("wb")
        with log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.integration.worker_app", "worker", "-n", name, *options],
                cwd=PROJECT,
                env={**self.environment, "POLAR_SYNC_TEST_BUSY_FILE": str(self.get_busy_file(name))},
                stdout=log,
                stderr=log,
            )

    def kill_worker(self, name: str) -> None:
        """End it at once: nothing is cleaned up, acknowledged or given back."""
        self.workers[name].kill()
        self.workers[name].wait()

    def is_busy(self, name: str) -> bool:
        """Whether it is doing a page, and has been for a moment."""
        try:
            return time.time() - self.get_busy_file(name).stat().st_mtime > 0.15
        except FileNotFoundError:
            return False

    def get_busy_file(self, name: str) -> Path:
        return self.directory / f"{name}.busy"

    def stop(self) -> None:
        for worker in self.workers.values():
            with suppress(ProcessLookupError):
                worker.kill()
            worker.wait()

    def read_logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    def manage(self, *arguments: str) -> str:
        """Run a command of the site and give its output back."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, name: str, *arguments: Any) -> None:
        # Not current: the tests after this one rely on the application of the project.
        with Celery(broker=self.environment["CELERY_BROKER_URL"], set_as_current=False) as app:
            app.send_task(name, arguments, expires=60)


@contextmanager
def serve_limited(*arguments: str) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """The fake server in its own process: what it says of itself, and how to end it and hear what it was asked."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.limited_server", *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None

    def stop() -> dict[str, Any]:
        process.terminate()
        output, _ = process.communicate(timeout=30)
        asked: dict[str, Any] = json.loads(output.splitlines()[-1])
        return asked

    try:
        yield json.loads(process.stdout.readline()), stop
    finally:
        process.kill()
        process.communicate()


def wait_until(is_true: Callable[[], object], *, often: float = 0.05) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < deadline, "waited for long enough"
        time.sleep(often)
