"""A number that Python cannot hold costs the customer that has it, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import SyncRun
from polar_sync.testing import FakePolar
from tests.sync.socketless import check_counts, read_mirror, read_polar, serve

pytestmark = pytest.mark.django_db(transaction=True)
MARK = "a number goes here"


def run_once() -> SyncRun:
    organization = polar_settings.get_organization("default")
    with sync.connect(organization) as connection:
        return sync.work_in_foreground(sync.begin_run(organization), connection)


@pytest.fixture
def polar(monkeypatch: pytest.MonkeyPatch, settings: Settings, number: str, source: str) -> FakePolar:
    polar = FakePolar.generate(seed=5, customers=30)
    serve(polar, monkeypatch, settings, STATE_SOURCE=source)
    handle = polar.handle

    def answer(*request: Any) -> tuple[int, Any, bytes]:
        status, headers, content = handle(*request)
        content = content.replace(f'"{MARK}"'.encode(), number.encode())
        return status, {**dict(headers), "Content-Length": str(len(content))}, content

    monkeypatch.setattr(polar, "handle", answer)
    return polar


@pytest.mark.parametrize("source", ["batched", "per_customer"])
@pytest.mark.parametrize("number", ["7" * 5000, "1e999"], ids=["long", "large"])
@pytest.mark.parametrize("where", ["customer", "subscription"])
def test_unreadable_number_costs_only_the_customer_that_has_it(polar: FakePolar, where: str) -> None:
    assert run_once().status == "succeeded"
    mirrored = read_mirror()
    victim = next(key for key in polar.customers if polar.get_state(key)["active_subscriptions"])
    state = polar.get_state(victim)
    owner = state if where == "customer" else state["active_subscriptions"][0]
    owner["metadata"] = {"n": MARK}
    polar.put_state(state)
    run = run_once()
    check_counts(run)
    assert (run.status, run.reason, run.failed) == ("partial", "customers_failed", 1)
    [failure] = run.failures.all()
    assert str(failure.customer_id) == victim
    assert "too large" in failure.reason
    assert len(failure.reason) < 500
    expected = read_polar(polar)
    assert read_mirror() == {**expected, victim: mirrored[victim]}
