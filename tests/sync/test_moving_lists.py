"""Customers deleted and created while the list is paged: hundreds of schedules, each from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncRun
from polar_sync.testing import FakePolar, Fault
from tests.sync.socketless import check_counts, lie_about_pages, read_mirror, read_polar, serve

pytestmark = pytest.mark.any_database

PAGE_SIZE = 10
SCHEDULES_A_TEST = 10
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
BIRTH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A server that changes before some of its answers, as a seed says. Time passes with each request."""

    seed: int
    now: datetime = START
    deleted: set[str] = field(default_factory=set)
    is_quiet: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.polar = FakePolar(seed=self.seed, clock=self.read_clock, shuffle_ties=self.rng.random() < 0.6)
        self.share_of_ties = self.rng.choice((0.0, 0.0, 0.1, 0.5))
        self.changes_per_list = self.rng.choice((0.0, 0.15, 0.4, 1.0, 2.0))
        self.deletions = self.rng.choice((0.3, 0.7, 1.0))
        self.born = BIRTH
        for _ in range(self.rng.randrange(15, 45)):
            self.add_old_customer()
        self.polar.before("customers:list", self.change, times=None)
        self.denials = self.rng.choice((0.0, 0.0, 0.05, 0.5))
        if self.denials:
            self.polar.faults.add(
                Fault(kind="missing", operation="customers:get_state", chance=self.denials, times=None)
            )
        if self.rng.random() < 0.3:
            lie_about_pages(self.polar, self.miscount)

    def read_clock(self) -> datetime:
        return self.now

    def add_old_customer(self) -> str:
        if self.rng.random() >= self.share_of_ties:
            self.born += timedelta(seconds=self.rng.randrange(1, 100))
        return str(self.polar.create_customer(created_at=self.born)["id"])

    def change(self) -> None:
        self.now += timedelta(seconds=self.rng.choice((0, 0, 1, 5)))
        if self.is_quiet:
            return
        count = int(self.changes_per_list) + (self.rng.random() < self.changes_per_list % 1)
        for _ in range(count):
            if self.rng.random() < self.deletions and self.polar.customers:
                self.delete(self.rng.choice(self.polar.customers))
            else:
                self.polar.create_customer(created_at=self.now + timedelta(milliseconds=self.rng.randrange(1, 900)))

    def miscount(self, pages: int) -> int:
        """Mostly the truth; else fewer pages than there are, or far more."""
        return pages if self.is_quiet else self.rng.choice((pages, pages, 0, 1, pages + 1, 20_000))

    def delete(self, customer_id: str) -> None:
        self.polar.delete_customer(customer_id)
        self.deleted.add(customer_id)


def run_to_its_end(*, is_mass_deletion_allowed: bool = False) -> SyncRun:
    organization = next(iter(polar_settings.organizations.values()))
    with sync.connect(organization) as connection:
        run = sync.begin_run(organization, is_mass_deletion_allowed=is_mass_deletion_allowed)
        return sync.work_in_foreground(run, connection)


def check_run(world: World, *, living_before: set[str], deleted_before: set[str]) -> SyncRun:
    """The law: nobody who lived through the run is missing or marked deleted, unless the run says that they may be."""
    run = run_to_its_end()
    check_counts(run)
    lived_through = living_before & set(world.polar.customers)
    marked = {str(key) for key in Customer.all_objects.exclude(deleted_at=None).values_list("pk", flat=True)}
    assert not marked & set(world.polar.customers), "somebody living was marked deleted"
    mirrored = {str(key) for key in Customer.objects.values_list("pk", flat=True)}
    if (run.status, run.reason) == ("partial", "moving"):
        return run
    failed = set(run.failures.values_list("customer_id", flat=True))
    if failed:
        assert world.denials, "somebody failed whom nothing was wrong with"
        assert (run.status, run.reason) == ("partial", "customers_failed")
    else:
        assert (run.status, run.reason) in {("succeeded", ""), ("partial", "empty_listing")}, run.detail
    assert not lived_through - mirrored - failed, f"somebody living was lost; {run.pass_number} passes"
    if run.status == "succeeded":
        assert not deleted_before & mirrored, "somebody who was deleted before the run still lives in the mirror"
    return run


@pytest.mark.django_db
@pytest.mark.parametrize("block", range(24))
def test_nobody_is_lost_or_buried_alive_whatever_moves(
    block: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr("polar_sync.sync.windows.PAGE_SIZE", PAGE_SIZE)
    for seed in range(block * SCHEDULES_A_TEST, (block + 1) * SCHEDULES_A_TEST):
        Customer.all_objects.all().delete()
        SyncRun.objects.all().delete()
        world = World(seed)
        source = world.rng.choice(("per_customer", "auto"))
        serve(world.polar, monkeypatch, settings, MASS_DELETION_SHARE=1.0, STATE_SOURCE=source)
        settings.POLAR_SYNC["ORGANIZATIONS"] = {f"seed {seed}": settings.POLAR_SYNC["ORGANIZATIONS"]["default"]}
        check_schedule(world)


def check_schedule(world: World) -> None:
    for _ in range(world.rng.choice((1, 2))):
        world.now += timedelta(hours=1)
        for _ in range(world.rng.choice((0, 1, 3))):
            if world.rng.random() < 0.5 and world.polar.customers:
                world.delete(world.rng.choice(world.polar.customers))
            else:
                world.polar.create_customer(created_at=world.now - timedelta(minutes=30))
        check_run(world, living_before=set(world.polar.customers), deleted_before=set(world.deleted))
    world.is_quiet = True
    world.polar.faults.clear()
    world.polar.shuffle_ties = False
    world.now += timedelta(hours=1)
    run = run_to_its_end(is_mass_deletion_allowed=True)
    assert (run.status, run.reason) == ("succeeded", "")
    assert read_mirror() == read_polar(world.polar)
