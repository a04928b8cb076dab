"""Whatever the description allows, and what it does not, is answered; nothing ends in a 500.

https://schemathesis.readthedocs.io/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis
import pytest
import schemathesis
from django.core.cache import cache
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from pytest_django import Settings
from schemathesis.generation import GenerationMode

from polar_sync.models import Organization, SyncRun
from polar_sync.testing import FakePolarServer
from tests.factories import apply_states, build_full_state, make_id, read_at

pytestmark = pytest.mark.any_database

DESCRIPTION = json.loads((Path(__file__).parent / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods]
EXAMPLES = 25
KNOWN_IDS = {
    "customers": make_id("a"),
    "subscriptions": make_id("subscription a.0"),
    "benefit-grants": make_id("grant a.0"),
    "meters": make_id("meter a.0"),
}


@pytest.fixture
def _open_connection() -> Iterator[None]:
    """Many requests share the test's transaction, so none may close its connection, as Django's test client knows."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.django_db
@pytest.mark.usefixtures("_open_connection")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_nothing_ends_in_a_500(
    path: str,
    method: str,
    mode: GenerationMode,
    settings: Settings,
    make_token: Callable[..., str],
    polar_server: FakePolarServer,
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}
    settings.ALLOWED_HOSTS = ["*"]
    run = prepare(polar_server)
    schema = schemathesis.openapi.from_wsgi("/polar/openapi.json", WSGIHandler())
    known = {"id": KNOWN_IDS.get(path.split("/")[2], run), "external_id": "usr_a"}
    headers = {"Authorization": f"Bearer {make_token(is_superuser=True)}"}

    @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def ask(case: Any) -> None:
        cache.clear()
        if mode is GenerationMode.POSITIVE:
            case.path_parameters |= {key: known[key] for key in case.path_parameters}
        answer = case.call(headers=headers)
        assert answer.status_code < 500, (answer.status_code, case.as_curl_command())
        case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error])

    ask()


def prepare(server: FakePolarServer) -> int:
    """A customer on Polar and in the mirror, and a run, whose id is returned."""
    organization = Organization.objects.create(
        name="default", polar_id=UUID(server.polar.organization_id), server=server.url
    )
    state = build_full_state("a") | {"organization_id": server.polar.organization_id}
    server.polar.put_state(state)
    apply_states(organization, state, interval=read_at(0))
    return SyncRun.objects.create(organization=organization, status="failed").pk
