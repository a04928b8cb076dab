"""Mirrored rows are written by the store alone, whatever asks for it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

import polar_sync
from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, Meter
from polar_sync.testing import FakePolar, FakePolarServer

pytestmark = pytest.mark.django_db(transaction=True)

STORE = str(Path(polar_sync.__file__).parent / "store")
TABLES = "customer|customerobservation|subscription|subscriptionmeter|benefitgrant|meter"
WRITE = re.compile(rf'(INSERT|UPDATE|DELETE)[^"]*"polar_sync_({TABLES})"')


@contextmanager
def watch() -> Iterator[set[str]]:
    """The tables that are written to; fails at once where the store is not among the callers."""
    written: set[str] = set()

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = WRITE.match(sql)
        if found is not None:
            files = [frame.filename for frame in traceback.extract_stack(limit=60)]
            assert any(name.startswith(STORE) for name in files), sql[:200]
            written.add(found[2])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        yield written


@pytest.fixture
def polar(polar_server: FakePolarServer) -> FakePolar:
    polar_server.polar.generate_customers(30, seed=2)
    return polar_server.polar


def test_only_the_store_writes_what_is_mirrored(polar: FakePolar, settings: Settings) -> None:
    organization = polar_settings.get_organization("default")
    with watch() as written:
        call_command("polar_sync", stdout=StringIO(), stderr=StringIO())
        assert written == set(TABLES.split("|"))
        changed, gone = polar.customers[:2]
        polar.update_customer(changed, name="Ada")
        polar.delete_customer(gone)
        with sync.connect(organization) as opened:
            sync.refresh_customer(organization, UUID(changed), opened)
            sync.refresh_customer(organization, UUID(gone), opened)
        call_command("polar_sync", stdout=StringIO(), stderr=StringIO())
        call_command("polar_sync_verify", "--all", "--repair", stdout=StringIO(), stderr=StringIO())
    Customer.all_objects.exclude(deleted_at=None).update(deleted_at=datetime(2025, 1, 1, tzinfo=UTC))
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "DELETED_CUSTOMERS": "scrub"}
    with watch():
        call_command("polar_sync_prune", stdout=StringIO())
    assert Customer.all_objects.exclude(scrubbed_at=None).exists()


def test_who_writes_otherwise_is_found(polar: FakePolar) -> None:
    call_command("polar_sync", stdout=StringIO(), stderr=StringIO())
    with watch(), pytest.raises(AssertionError, match="UPDATE"):
        Meter.objects.update(balance=1)
