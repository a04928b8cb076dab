"""The commands as an operator runs them: in a process of their own, against a database file of their own."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polar_sync.testing import FakePolarServer
from tests.services import PROJECT, build_environment

PATIENCE = 30.0


@dataclass
class Site:
    """A project on a SQLite file, that mirrors `server`."""

    server: FakePolarServer
    database: Path

    def build_environment(self) -> dict[str, str]:
        return build_environment(
            DJANGO_SETTINGS_MODULE="tests.management.site_settings",
            DATABASE_URL=f"sqlite:///{self.database}",
            POLAR_ACCESS_TOKEN=self.server.polar.access_token,
            POLAR_SERVER=self.server.url,
            POLAR_REQUESTS_PER_MINUTE=1_000_000,
            POLAR_WEBHOOK_SECRET="whsec_for_tests",  # as the receiver is routed
            COLUMNS=100,
        )

    def build_command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.build_command(*arguments),
            cwd=PROJECT,
            env=self.build_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **options,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        # A shell has its background jobs ignore Ctrl-C, and so would what these start.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                self.build_command(*arguments),
                cwd=PROJECT,
                env=self.build_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )
        finally:
            signal.signal(signal.SIGINT, previous)

    def query(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as database:
            rows = database.execute(statement).fetchall()
            database.commit()
        return rows

    def expire_leases(self) -> None:
        """As if whoever worked on a run had not been heard of for long."""
        past = "'2026-01-01 00:00:00'"
        self.query(f"UPDATE polar_sync_syncrun SET heartbeat_at = {past} WHERE status = 'running'")
        self.query(f"UPDATE polar_sync_syncpage SET leased_until = {past} WHERE leased_until IS NOT NULL")


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < deadline, "waited for long enough"
        time.sleep(0.02)
