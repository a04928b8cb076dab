"""The example project's settings, as a process with a given environment sees them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from benchmarks.rest import GUNICORN
from project.environment import (
    parse_requests_per_minute,
    parse_webhook_secrets,
    prepare_database,
    require_secure_key,
)

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "k3y-of-the-tests-" + "abcdefghij0123456789" * 3
HIDDEN = ("POLAR_", "DJANGO_", "CELERY_", "DATABASE_URL")
SHOW = (
    "import json; from django.conf import settings as s; print(json.dumps([s.DEBUG, s.ALLOWED_HOSTS, s.POLAR_SYNC, "
    "s.CELERY_BROKER_URL, s.DATABASES['default']['ENGINE'], sorted(s.CELERY_BEAT_SCHEDULE)]))"
)


def run_python(tmp_path: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    given = {"DJANGO_SETTINGS_MODULE": "project.settings", "POLAR_SYNC_WORK_DIR": str(tmp_path), **variables}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def read_settings(tmp_path: Path, **variables: str) -> Any:
    process = run_python(tmp_path, SHOW, **variables)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_fresh_clone_is_a_development_site_that_needs_no_server(tmp_path: Path) -> None:
    debug, hosts, polar, broker, engine, schedule = read_settings(tmp_path)
    assert debug is True
    assert hosts == []
    assert polar == {"ORGANIZATIONS": {}, "THROTTLE_STORAGE": "memory://"}
    assert broker.startswith("filesystem://")
    assert engine == "django.db.backends.sqlite3"
    assert schedule == ["polar_sync: follow", "polar_sync: resume runs"]


def test_environment_is_read(tmp_path: Path) -> None:
    debug, hosts, polar, broker, engine, schedule = read_settings(
        tmp_path,
        DJANGO_SECRET_KEY=KEY,
        DJANGO_ALLOWED_HOSTS="a.test,b.test",
        POLAR_ACCESS_TOKEN="polar_oat_for_tests",
        POLAR_SERVER="sandbox",
        POLAR_REQUESTS_PER_MINUTE="0.5",
        POLAR_WEBHOOK_SECRET="whsec_new,whsec_old",
        POLAR_WEBHOOK_ENDPOINT_ID="5f2ac7fd-3f6d-4a8b-9f7a-0d3c6d1f2a10",
        CELERY_BROKER_URL="redis://127.0.0.1:6379/9",
        DATABASE_URL="postgres://somebody@127.0.0.1/some",
    )
    organization = {
        "ACCESS_TOKEN": "polar_oat_for_tests",
        "SERVER": "sandbox",
        "REQUESTS_PER_MINUTE": 0.5,
        "WEBHOOK_SECRETS": ["whsec_new", "whsec_old"],
        "WEBHOOK_ENDPOINT_ID": "5f2ac7fd-3f6d-4a8b-9f7a-0d3c6d1f2a10",
    }
    assert debug is False
    assert hosts == ["a.test", "b.test"]
    assert polar == {"ORGANIZATIONS": {"default": organization}, "THROTTLE_STORAGE": "redis://127.0.0.1:6379/9"}
    assert broker == "redis://127.0.0.1:6379/9"
    assert engine == "django.db.backends.postgresql"
    assert schedule == ["polar_sync: follow", "polar_sync: resume runs", "polar_sync: sync default"]


@pytest.mark.parametrize(("text", "expected"), [("", False), ("0", False), ("1", True)])
def test_all_deliveries_are_followed_where_somebody_else_receives_them(
    tmp_path: Path, text: str, expected: bool
) -> None:
    code = (
        "import django, json; django.setup(); from django.conf import settings; "
        "from django.core.checks import run_checks; "
        "found = [one.id for one in run_checks(tags=['polar_sync']) if not one.is_silenced()]; "
        "print(json.dumps([settings.CELERY_BEAT_SCHEDULE['polar_sync: follow']['kwargs'], found]))"
    )
    process = run_python(tmp_path, code, POLAR_ACCESS_TOKEN="polar_oat_for_tests", POLAR_FOLLOW_ALL=text)
    assert json.loads(process.stdout) == [{"is_whole": expected}, [] if expected else ["polar_sync.W006"]]


@pytest.mark.parametrize(
    ("code", "variables", "state"),
    [
        (SHOW, {"DJANGO_DEBUG": "0"}, "missing"),
        (SHOW, {"DJANGO_ALLOWED_HOSTS": "a.test"}, "missing"),
        (SHOW, {"DJANGO_SECRET_KEY": "secret"}, "insecure"),
        ("import project.wsgi", {}, "missing"),
    ],
)
def test_production_does_not_start_without_a_secure_key(
    tmp_path: Path, code: str, variables: dict[str, str], state: str
) -> None:
    process = run_python(tmp_path, code, **variables)
    assert process.returncode == 1
    assert f"ImproperlyConfigured: DJANGO_SECRET_KEY is {state}" in process.stderr


def test_production_starts_with_a_secure_key(tmp_path: Path) -> None:
    code = (
        "import project.wsgi; from django.conf import settings; print(settings.DEBUG, settings.SESSION_COOKIE_SECURE)"
    )
    process = run_python(tmp_path, code, DJANGO_SECRET_KEY=KEY)
    assert process.stdout == "False True\n"


@pytest.mark.parametrize("key", ["", "short", "a" * 60, "django-insecure-" + KEY])
def test_insecure_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        require_secure_key(key)
    assert not key or key not in str(caught.value)


def test_long_random_key_is_accepted() -> None:
    require_secure_key(KEY)


def test_sqlite_locks_when_a_transaction_begins_and_keeps_given_options() -> None:
    database = prepare_database({"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"timeout": 5}})
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] == 5


def test_connections_to_postgresql_are_kept_unless_the_url_says_otherwise() -> None:
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "x"}
    assert prepare_database(database) == {**database, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    assert prepare_database({**database, "CONN_MAX_AGE": 0})["CONN_MAX_AGE"] == 0


def test_site_in_production_passes_the_checks_for_deployment(tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); from django.core.checks import run_checks; "
        "print([one.id for one in run_checks(tags=['polar_sync'], include_deployment_checks=True)])"
    )
    process = run_python(
        tmp_path,
        code,
        DJANGO_SECRET_KEY=KEY,
        POLAR_ACCESS_TOKEN="polar_oat_for_tests",
        CELERY_BROKER_URL="redis://127.0.0.1:6379/9",
        POLAR_WEBHOOK_SECRET="whsec_for_tests",
        DATABASE_URL="postgres://somebody@127.0.0.1/some",
    )
    assert process.stdout == "[]\n", process.stderr


def test_readme_tells_to_serve_as_the_benchmark_does() -> None:
    assert f"\ngunicorn {' '.join(GUNICORN)} project.wsgi:application" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("text", "expected"), [("", None), ("300", 300), ("0.5", 0.5), ("1.0", 1.0)])
def test_requests_per_minute_is_a_number_or_a_share(text: str, expected: object) -> None:
    value = parse_requests_per_minute(text)
    assert value == expected
    assert type(value) is type(expected)


def test_requests_per_minute_that_is_no_number_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="POLAR_REQUESTS_PER_MINUTE must be"):
        parse_requests_per_minute("many")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), (" , ", []), ("whsec_a", ["whsec_a"]), ("whsec_a, whsec_b,", ["whsec_a", "whsec_b"])],
)
def test_webhook_secrets_are_separated_by_commas(text: str, expected: list[str]) -> None:
    assert parse_webhook_secrets(text) == expected


def test_tests_see_nothing_of_a_real_organization() -> None:
    read = set(re.findall(r'env\.\w+\("(POLAR_(?!SYNC)\w+)"', (ROOT / "project" / "settings.py").read_text()))
    assert "POLAR_WEBHOOK_SECRET" in read
    assert read <= set(re.findall(r"-u (\w+)", (ROOT / "Makefile").read_text()))
