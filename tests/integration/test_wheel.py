"""The wheel in a clean project, set up as the README says, without a driver for PostgreSQL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from polar_sync.testing import FakePolar, FakePolarServer
from tests.catalogues import LANGUAGES
from tests.services import PROJECT, build_environment, miss

CUSTOMERS = 30
DJANGOS = ["django~=5.2.0", "django>=6.0"]
NEEDED_BY_DJANGO = {"django~=5.2.0": (3, 10), "django>=6.0": (3, 12)}
# What pip says where no registry can be reached, and only then.
UNREACHABLE = re.compile(r"Failed to establish a new connection|ConnectTimeout|NameResolutionError|ProxyError")
HERE = Path(__file__).parent
REST = {
    "/polar/docs/": 200,
    "/polar/openapi.json": 200,
    "/polar/v1/customers/": 200,
    "/polar/v1/subscriptions/": 200,
    "/polar/v1/sync/status": 200,
}

ADMIN = {
    "/admin/",
    "/admin/polar_sync/",
    *(
        f"/admin/polar_sync/{model}/"
        for model in ("customer", "organization", "syncrun", "subscription", "benefitgrant", "meter")
    ),
    *(f"/admin/polar_sync/{model}/<id>/change/" for model in ("customer", "organization", "syncrun")),
    "/admin/polar_sync/customer/<id>/history/",
    "/admin/polar_sync/customer/<id>/state.json",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    install("wheel", "--no-deps", "--wheel-dir", str(folder), str(PROJECT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.any_database
def test_wheel_holds_the_translations(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        names = file.namelist()
    assert {f"polar_sync/locale/{language}/LC_MESSAGES/django.mo" for language in LANGUAGES} <= set(names)


@pytest.mark.any_database
@pytest.mark.parametrize("django", DJANGOS)
def test_wheel_does_all_that_the_readme_says_in_a_clean_project(wheel: Path, django: str, tmp_path: Path) -> None:
    if sys.version_info < NEEDED_BY_DJANGO[django]:
        pytest.skip(f"{django} needs another Python than {sys.version.split()[0]}")
    with FakePolarServer(FakePolar.generate(seed="wheel", customers=CUSTOMERS)) as server:
        project = CleanProject(tmp_path, server)
        project.install(str(wheel), django)
        project.start()
        assert "E0" not in project.run("manage.py", "check")
        assert "No changes detected" in project.run("manage.py", "makemigrations", "--check", "--dry-run")
        project.run("manage.py", "migrate", "--verbosity", "0")
        line = json.loads(project.run("manage.py", "polar_sync", "--json"))
        assert (line["status"], line["created"]) == ("succeeded", CUSTOMERS)
        visited: dict[str, Any] = json.loads(project.run("visit.py", *REST))
        assert visited["modules"] == {"polar_sync": True, "psycopg": False, "psycopg2": False, "pytest": False}
        assert visited["rest"] == REST
        assert {path: status for path, status in visited["admin"].items() if status != 200} == {}
        assert {path.partition("?")[0] for path in visited["admin"]} >= ADMIN
        project.install(f"{wheel}[testing]", django)
        tests = ("test_mirror.py", "test_access.py")
        assert "2 passed" in project.run("-m", "pytest", "--ds=shop.settings", *tests)


class CleanProject:
    """A virtual environment and a project of Django's `startproject`, in a folder of their own."""

    def __init__(self, folder: Path, server: FakePolarServer) -> None:
        self.folder = folder / "project"
        self.server = server
        self.python = folder / "venv" / "bin" / "python"
        self.folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)

    def install(self, *requirements: str) -> None:
        install("--python", str(self.python), "install", "--quiet", *requirements)

    def start(self) -> None:
        """The project with the README's lines, against the fake server, and what the test runs in it."""
        self.run("-m", "django", "startproject", "shop", ".")
        settings, urls = (self.folder / "shop" / name for name in ("settings.py", "urls.py"))
        for path in (settings, urls):
            lines = "\n".join(read_readme(path.name))
            assert lines
            path.write_text(f"{path.read_text()}\n{lines}")
        server = f"POLAR_SYNC['ORGANIZATIONS']['default']['SERVER'] = {self.server.url!r}\n"
        settings.write_text(f"{settings.read_text()}\n{server}")
        for source, name in (("wheel_visit.py", "visit.py"), ("wheel_fixture.py", "test_mirror.py")):
            (self.folder / name).write_text((HERE / source).read_text())
        (self.folder / "test_access.py").write_text("\n".join(read_readme("test_access.py")))

    def run(self, *arguments: str) -> str:
        """What Python prints when it is given these in the project."""
        environment = build_environment(
            DJANGO_SETTINGS_MODULE="shop.settings",
            POLAR_ACCESS_TOKEN=self.server.polar.access_token,
            POLAR_WEBHOOK_SECRET="whsec_of_a_clean_project",
        )
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout


def read_readme(name: str) -> list[str]:
    """The README's lines for a file, in their order."""
    return re.findall(
        rf"^```python\n# {re.escape(name)}\n(.*?)^```", (PROJECT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )


def install(*arguments: str) -> None:
    """Run pip, with this machine's configuration of it."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and UNREACHABLE.search(done.stdout + done.stderr):
        miss("No package registry can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
