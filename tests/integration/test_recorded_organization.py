"""A recorded organization of a real Polar server, mirrored by the command."""

from __future__ import annotations

import gzip
import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from polar_sync.models import Customer
from polar_sync.testing import FakePolar, FakePolarServer
from tests.integration.services import RECORDINGS, go_without
from tests.sync.socketless import count_asked, normalize

RECORDING = RECORDINGS / "organization.jsonl.gz"
CUSTOMERS = 950


@pytest.fixture(scope="module")
def recorded_states() -> dict[str, dict[str, Any]]:
    if not RECORDING.exists():
        go_without("the recording organization.jsonl.gz")
    states = {}
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        for line in lines:
            exchange = json.loads(line)
            found = re.fullmatch(r"/v1/customers/([^/]+)/state", exchange["path"])
            if found:
                states[found[1]] = normalize(exchange["body"])
    return states


@pytest.mark.django_db
def test_every_state_of_the_recorded_organization_is_mirrored(
    recorded_states: dict[str, dict[str, Any]], settings: Settings
) -> None:
    assert len(recorded_states) == CUSTOMERS
    with FakePolarServer(FakePolar.replay(RECORDING)) as server:
        settings.POLAR_SYNC = {
            "ORGANIZATIONS": {
                "default": {
                    "ACCESS_TOKEN": server.polar.access_token,
                    "SERVER": server.url,
                    "REQUESTS_PER_MINUTE": 1_000_000,
                }
            },
            "STATE_SOURCE": "per_customer",
        }
        output = StringIO()
        call_command("polar_sync", "--json", stdout=output)
        assert count_asked(server.polar) == (10, CUSTOMERS)
    line = json.loads(output.getvalue())
    assert (line["status"], line["listed"], line["created"]) == ("succeeded", CUSTOMERS, CUSTOMERS)
    mirrored = {str(customer.pk): normalize(customer.state()) for customer in Customer.objects.with_state()}
    assert mirrored.keys() == recorded_states.keys()
    for customer_id, state in recorded_states.items():
        assert mirrored[customer_id] == state
