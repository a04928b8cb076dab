"""The API's description: valid, without a warning, the same as the committed one, and on a page to browse.

`python -m tests.rest.test_openapi` writes the snapshot anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings as django_settings
from django.test import Client, override_settings
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from pytest_django import Settings

SNAPSHOT = Path(__file__).parent / "openapi.json"


@pytest.fixture(autouse=True)
def _write_through(settings: Settings) -> None:
    """What is off is not described."""
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}


def describe() -> dict[str, Any]:
    answer = Client().get("/polar/openapi.json")
    assert answer.status_code == 200
    described: dict[str, Any] = answer.json()
    return described


def test_description_is_valid_and_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    GENERATOR_STATS.reset()
    description = describe()
    validate_schema(description)  # type: ignore[no-untyped-call]
    assert not GENERATOR_STATS
    assert capsys.readouterr().err == ""


def test_description_is_the_committed_one() -> None:
    assert describe() == json.loads(SNAPSHOT.read_text()), "python -m tests.rest.test_openapi writes it anew"


def test_description_names_every_path_and_where_they_are() -> None:
    description = describe()
    assert description["servers"] == [{"url": "/polar"}]
    assert {path.split("/")[2] for path in description["paths"]} == {
        *("customers", "customer-portal", "subscriptions", "benefit-grants", "meters", "sync"),
    }
    operations = [one["operationId"] for path in description["paths"].values() for one in path.values()]
    assert len(set(operations)) == len(operations) == 25


def test_writing_is_described_only_while_it_is_on(settings: Settings) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": False}
    assert list(describe()["paths"]["/v1/customers/{id}"]) == ["get"]


def test_page_shows_the_description_and_loads_nothing_from_elsewhere() -> None:
    page = Client().get("/polar/docs/")
    assert page.status_code == 200
    text = page.content.decode()
    assert "/polar/openapi.json" in text
    assert "https://" not in text


def write_snapshot() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    hosts, options = ["testserver"], {**django_settings.POLAR_SYNC, "WRITE_THROUGH": True}
    with override_settings(ALLOWED_HOSTS=hosts, POLAR_SYNC=options):
        SNAPSHOT.write_text(json.dumps(describe(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_snapshot()
