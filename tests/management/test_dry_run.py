"""`--dry-run`: the same answers as the run that follows, and a database in which nothing has moved."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from pytest_django import Settings

from polar_sync.models import Organization, SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.signals import customer_changed
from polar_sync.testing import FakePolar, FakePolarServer, Fault
from tests.management.test_polar_sync import KEYS, add_organization, run_command

pytestmark = pytest.mark.django_db


@pytest.fixture
def polar(polar_server: FakePolarServer) -> FakePolar:
    return polar_server.polar


def dump() -> dict[str, list[Any]]:
    """Every row of every table of ours."""
    models = apps.get_app_config("polar_sync").get_models()
    return {model.__name__: list(model._base_manager.order_by("pk").values()) for model in models}


def change(polar: FakePolar) -> dict[str, set[str]]:
    """Change some customers; who is to be what."""
    updated, deleted, moved, emptied = polar.customers[:4]
    polar.update_customer(updated, name="Ada")
    polar.delete_customer(deleted)
    polar.update_customer(moved, metadata={"plan": "max"})
    state = polar.get_state(emptied)
    polar.replace_state(emptied, {**state, "active_subscriptions": [], "name": "Emptied"})
    polar.clock_offset += timedelta(seconds=10)
    created = polar.create_customer(name="Grace")["id"]
    return {"created": {created}, "updated": {updated, moved, emptied}, "deleted": {deleted}}


@pytest.mark.parametrize("source", ["per_customer", "auto"])
def test_it_tells_what_the_next_run_does_and_writes_nothing(
    source: str, polar: FakePolar, settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": source}
    polar.generate_customers(150)
    run_command()
    expected = change(polar)
    before = dump()
    told: list[Any] = []
    customer_changed.connect(lambda **_: told.append(1), weak=False, dispatch_uid="dry")
    try:
        with django_capture_on_commit_callbacks(execute=True) as callbacks:
            ended = run_command("--dry-run", "--json")
    finally:
        customer_changed.disconnect(dispatch_uid="dry")
    assert (callbacks, told) == ([], [])
    assert dump() == before
    assert ended.code == 0
    assert list(ended.line) == [*KEYS, "dry_run", "ids"]
    assert (ended.line["status"], ended.line["run"], ended.line["dry_run"]) == ("succeeded", None, True)
    assert {outcome: set(ids) for outcome, ids in ended.line["ids"].items()} == expected
    real = run_command("--json")
    assert [ended.line[name] for name in ("listed", *OUTCOMES)] == [real.line[name] for name in ("listed", *OUTCOMES)]


def test_first_of_all_runs_can_be_dry(polar: FakePolar) -> None:
    polar.generate_customers(120)
    ended = run_command("--dry-run")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith(
        f"default: a run would have succeeded; 120 customers: 120 created; nothing was written; {len(polar.requests)} "
    )
    assert not Organization.objects.exists()
    assert not SyncRun.objects.exists()
    assert run_command().code == 0


@pytest.mark.parametrize("seed", range(12))
def test_it_foretells_every_run_over_a_server_at_rest(seed: int, polar: FakePolar) -> None:
    rng = random.Random(seed)
    polar.generate_customers(rng.choice((0, 5, 60, 130)), seed=seed)
    if rng.random() < 0.8:
        run_command()
    for customer_id in rng.sample(polar.customers, k=len(polar.customers) // rng.choice((3, 10))):
        if rng.random() < 0.5:
            polar.delete_customer(customer_id)
        else:
            polar.update_customer(customer_id, name=f"Ada {rng.random()}")
    denied = rng.sample(polar.customers, k=min(len(polar.customers), rng.choice((0, 0, 2))))
    for customer_id in denied:
        polar.faults.add(Fault(kind="missing", operation="customers:get_state", customer=customer_id, times=None))
    for _ in range(rng.choice((0, 2))):
        polar.put_raw_item({"id": None, "name": rng.random()})
    polar.clock_offset += timedelta(seconds=10)
    arguments = ["--json", *(["--allow-mass-deletion"] if rng.random() < 0.3 else [])]
    before = dump()
    dry = run_command("--dry-run", *arguments).line
    assert dump() == before
    real = run_command(*arguments).line
    names = ("status", "reason", "listed", *OUTCOMES)
    assert {name: dry[name] for name in names} == {name: real[name] for name in names}


def test_mass_deletion_is_foretold_and_nobody_asked_for(polar: FakePolar) -> None:
    polar.generate_customers(20)
    run_command()
    for customer_id in polar.customers[:8]:
        polar.delete_customer(customer_id)
    polar.clock_offset += timedelta(seconds=10)
    polar.reset_counts()
    ended = run_command("--dry-run", "--json")
    assert (ended.code, ended.line["status"], ended.line["reason"]) == (1, "partial", "mass_deletion")
    assert polar.counts["customers:get"] == 0
    ended = run_command("--dry-run", "--json", "--allow-mass-deletion")
    assert (ended.code, ended.line["deleted"], len(ended.line["ids"]["deleted"])) == (0, 8, 8)


def test_trouble_that_passes_is_sat_out_and_what_lasts_is_told(polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(20)
    other = add_organization(polar, settings, customers=4)
    polar.faults.add(Fault(kind="server_error", operation="customers:list", times=4))
    other.revoke_token(other.access_token)
    ended = run_command("--dry-run")
    assert ended.code == 1
    first, second = ended.output.splitlines()
    assert "default: a run would have succeeded; 20 customers: 20 created" in first
    assert "other: a run would have failed (authentication: " in second


def test_customers_deleted_while_it_pages_hide_nobody(polar: FakePolar) -> None:
    polar.generate_customers(330)
    gone = polar.customers[0]
    polar.before("customers:list", lambda: polar.delete_customer(gone), after=2)
    ended = run_command("--dry-run", "--json")
    assert (ended.code, ended.line["status"]) == (0, "succeeded")
    assert set(ended.line["ids"]["created"]) == {gone, *polar.customers}


def test_total_that_the_pages_do_not_come_up_to_is_no_success(polar: FakePolar) -> None:
    polar.generate_customers(80)
    items = [polar.get_customer(key) for key in polar.customers]
    answer = {"items": items, "pagination": {"total_count": 230, "max_page": 1}}
    polar.faults.add(Fault(kind="malformed", operation="customers:list", body=answer, times=None))
    ended = run_command("--dry-run", "--json")
    assert (ended.code, ended.line["status"], ended.line["reason"]) == (1, "partial", "moving")


def test_no_transaction_is_open_while_polar_is_asked(polar: FakePolar, monkeypatch: pytest.MonkeyPatch) -> None:
    depths: list[int] = []
    polar.generate_customers(30)
    outside = len(connection.savepoint_ids)

    def watch(work: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            depths.append(len(connection.savepoint_ids) - outside)
            return work(*args, **kwargs)

        return watched

    for name in ("list_pages", "fetch_missing"):
        path = f"polar_sync.sync.dry_run.{name}"
        monkeypatch.setattr(path, watch(vars(__import__("polar_sync.sync.dry_run", fromlist=["x"]))[name]))
    assert run_command("--dry-run").code == 0
    assert len(depths) >= 2
    assert not any(depths)


@pytest.mark.parametrize("arguments", [("--customer", "x"), ("--external-id", "x"), ("--queue",)])
def test_it_is_of_whole_runs_only(arguments: tuple[str, ...], polar: FakePolar) -> None:
    ended = run_command("--dry-run", *arguments)
    assert ended.code == 2
    assert "--dry-run" in ended.errors
    assert not polar.requests


@pytest.mark.parametrize("times", [1, None])
def test_first_of_all_runs_can_be_dry_though_a_state_is_denied(
    times: int | None, polar: FakePolar, settings: Settings
) -> None:
    """Of an organization that has no row yet, somebody is to be confirmed."""
    polar.generate_customers(5)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "per_customer"}
    denied = polar.customers[2]

    def deny() -> None:
        polar.faults.clear()
        polar.faults.add(Fault(kind="missing", operation="customers:get_state", customer=denied, times=times))

    deny()
    ended = run_command("--dry-run", "--json")
    deny()
    real = run_command("--json")
    ends = [[line[name] for name in ("status", "reason", *OUTCOMES)] for line in (ended.line, real.line)]
    assert ends[0] == ends[1]


def test_first_of_all_runs_can_be_dry_without_the_scope_for_meters(polar: FakePolar, settings: Settings) -> None:
    scopes = ["customers:read", "subscriptions:read", "benefits:read", "customer_meters:read"]
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "ACCESS_TOKEN": polar.create_token(scopes)}
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}, "STATE_SOURCE": "auto"}
    polar.generate_customers(120)
    ended = run_command("--dry-run", "--json")
    assert (ended.line["status"], ended.line["created"]) == ("succeeded", 120)
    assert not Organization.objects.exists()


def test_run_of_a_renamed_organization_can_be_dry_with_somebody_gone(polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(20)
    run_command()
    entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"renamed": entry}}
    gone = polar.customers[3]
    polar.delete_customer(gone)
    ended = run_command("--dry-run", "--json")
    assert (ended.line["status"], ended.line["ids"]["deleted"]) == ("succeeded", [gone])
    assert Organization.objects.get().name == "default"


def test_failure_is_told_as_a_run_would_keep_it(polar: FakePolar) -> None:
    polar.generate_customers(3)
    polar.faults.add(Fault(kind="unauthorized", times=None))
    ended, real = run_command("--dry-run", "--json"), run_command("--json")
    assert ended.line["detail"] == real.line["detail"]
    assert ended.line["detail"].startswith("AuthenticationError: ")
