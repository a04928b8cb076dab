"""The whole site as people meet it: a web server and a Celery worker in processes of their own, on a fake Polar."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from polar_sync.testing import FakePolar, FakePolarServer

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
PASSWORD = "a password for this test only"
HIDDEN = ("POLAR_", "DJANGO_", "CELERY_", "DATABASE_URL")
MAKE_USERS = f"""
from django.contrib.auth.models import Permission, User
User.objects.create_superuser("boss", "boss@example.com", {PASSWORD!r})
viewer = User.objects.create_user("viewer", "viewer@example.com", {PASSWORD!r}, is_staff=True)
mine = Permission.objects.filter(content_type__app_label="polar_sync")
viewer.user_permissions.set(mine.filter(codename__startswith="view_"))
"""


@dataclass(frozen=True)
class Site:
    url: str
    polar: FakePolar
    folder: Path
    environment: dict[str, str]

    def manage(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | variables,
            check=check,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def run_code(self, code: str) -> str:
        return self.manage("shell", "--verbosity", "0", "--command", code).stdout


@contextmanager
def serve_site(
    polar: FakePolar, folder: Path, *, requests_per_minute: int = 1_000_000, database: Path | None = None
) -> Iterator[Site]:
    """The site in this folder, with a copy of `database` where there is one that is migrated already."""
    with ExitStack() as stack:
        server = stack.enter_context(FakePolarServer(polar))
        port = find_free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
        environment = kept | {
            "DJANGO_SETTINGS_MODULE": "tests.admin.site",
            "DJANGO_DEBUG": "1",
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": f"sqlite:///{folder / 'site.sqlite3'}",
            "POLAR_SYNC_WORK_DIR": str(folder),
            "POLAR_SERVER": server.url,
            "POLAR_ACCESS_TOKEN": polar.access_token,
            "POLAR_REQUESTS_PER_MINUTE": str(requests_per_minute),
            "PYTHONUNBUFFERED": "1",
        }
        site = Site(f"http://127.0.0.1:{port}", polar, folder, environment)
        if database is None:
            site.manage("migrate", "--verbosity", "0")
        else:
            shutil.copy(database, folder / "site.sqlite3")
        site.run_code(MAKE_USERS)
        worker = ("-m", "celery", "--app", "project", "worker", "--pool", "threads", "--concurrency", "2")
        stack.enter_context(run(site, "worker", *worker, "--loglevel", "INFO", "--without-gossip", "--without-mingle"))
        stack.enter_context(run(site, "web", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"))
        wait_for_answer(site)
        yield site


@contextmanager
def run(site: Site, name: str, *arguments: str) -> Iterator[None]:
    with (site.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=site.environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE / 4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_answer(site: Site) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{site.url}/admin/login/", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, (site.folder / "web.log").read_text()
            time.sleep(0.1)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
