"""Runs over a Polar that changes meanwhile and answers oddly: schedules of which each follows from its seed.

A few at a time, others in each run of the tests: what pytest-randomly prints as its seed brings them back. The variable
`POLAR_SYNC_SCHEDULES` says how many, `POLAR_SYNC_SCHEDULE` is the seed of a single one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import PolarSyncError
from polar_sync.models import Customer, SyncRun
from polar_sync.store import apply, observe_customer
from polar_sync.sync import fetching
from polar_sync.sync.connections import Connection
from tests.store.support import rolled_back
from tests.sync.history import Objects, split_state
from tests.sync.socketless import check_counts, read_mirror, read_polar, serve
from tests.sync.world import MAX_AGE, MAX_LAG, World

pytestmark = pytest.mark.any_database

PAGE_SIZE = 10
BLOCKS = 8
SCHEDULES = int(os.environ.get("POLAR_SYNC_SCHEDULES", "16"))
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Schedule:
    """One world, and the runs over it."""

    def __init__(self, seed: str, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self.world = world = World(seed)
        self.has_lists = world.rng.random() < 0.8
        self.meddling = world.rng.choice((0.0, 0.0, 0.3))
        self._known: dict[str, Objects] = {}
        self._lost: dict[tuple[str, tuple[str, str]], datetime] = {}
        self._monkeypatch = monkeypatch
        source = world.rng.choice(("per_customer", "auto", "auto"))
        serve(world.polar, monkeypatch, settings, MASS_DELETION_SHARE=1.0, STATE_SOURCE=source)
        monkeypatch.setattr("polar_sync.client.clock.get_own_time", world.read_own_clock)
        entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
        if not self.has_lists:
            entry["ACCESS_TOKEN"] = world.polar.create_token(["customers:read", "customers:write"])
        settings.POLAR_SYNC["ORGANIZATIONS"] = {f"seed {seed}": entry}

    def play(self) -> None:
        world = self.world
        for _ in range(world.rng.choice((1, 2, 2))):
            self._prepare()
            world.pass_time(world.rng.choice((3, 30, 600, 3600, 8000)))
            began, asked_before = world.now, len(world.polar.requests)
            run = self._run()
            asked = {each.path.split("/")[3] for each in world.polar.requests[asked_before:] if is_of_state(each.path)}
            self._check(run, began=began, asked=asked)
        world.calm_down()
        if not self.has_lists or world.has_new_field or world.rng.random() < 0.5:
            world.pass_time(8000)
        run = self._run(is_mass_deletion_allowed=True)
        assert (run.status, run.reason) == ("succeeded", ""), run.detail
        expected = {key: split_state(state) for key, state in read_polar(world.polar).items()}
        assert self._read() == expected

    def _prepare(self) -> None:
        """What happens between two runs; the next may be of another process."""
        world = self.world
        if world.rng.random() < 0.5:
            self._monkeypatch.setattr("polar_sync.client.clock._clocks", {})
        if world.rng.random() < 0.1:
            world.archive_meter()
        for _ in range(world.rng.choice((0, 1, 3))):
            world.rng.choice((world.delete_any, world.edit, world.edit, world.add_young_customer))()

    def _run(self, *, is_mass_deletion_allowed: bool = False) -> SyncRun:
        organization = next(iter(polar_settings.organizations.values()))
        with (
            sync.connect(organization) as connection,
            sync.connect(organization) as other,
            self._monkeypatch.context() as patched,
        ):
            patched.setattr(fetching, "commit_page", self._meddle_before(vars(fetching)["commit_page"], other))
            run = sync.begin_run(organization, is_mass_deletion_allowed=is_mass_deletion_allowed)
            return sync.work_in_foreground(run, connection)

    def _meddle_before(self, commit: Callable[..., int], connection: Connection) -> Callable[..., int]:
        """Between the reading of a page and its writing, others write to Polar and to the mirror."""
        world, organization = self.world, next(iter(polar_settings.organizations.values()))

        def commit_late(run: SyncRun, page: Any, page_results: Any, **rest: Any) -> int:
            ids = sorted(world.states.keys() & set(map(str, page_results.observations)))
            if ids and not world.is_quiet and world.rng.random() < self.meddling:
                key = world.rng.choice(ids)
                with suppress(PolarSyncError):
                    if world.rng.random() < 0.5:
                        self._write_through(run, key, connection)
                    else:
                        world.edit(key)
                        sync.refresh_customer(organization, UUID(key), connection)
            return commit(run, page, page_results, **rest)

        return commit_late

    def _write_through(self, run: SyncRun, key: str, connection: Connection) -> None:
        self.world.hold(key)
        written = connection.client.customers.update(key, name=f"Written {self.world.now}")
        self.world.take_written(key)
        apply([observe_customer(written, interval=written.interval, is_written=True)], organization=run.organization)

    def _read(self) -> dict[str, Objects]:
        return {key: split_state(state) for key, state in read_mirror().items()}

    def _check(self, run: SyncRun, *, began: datetime, asked: set[str]) -> None:
        """The law: what the mirror holds Polar has said, and of a success, of the time of the run."""
        check_counts(run)
        world, history = self.world, self.world.history
        mirrored = self._read()
        marked = {str(key) for key in Customer.all_objects.exclude(deleted_at=None).values_list("pk", flat=True)}
        assert not marked & world.states.keys(), "somebody living was marked deleted"
        failed = set(run.failures.values_list("customer_id", flat=True))
        self._check_end(run, failed)
        for key, objects in mirrored.items():
            if run.status != "succeeded" or key in failed:
                since = LONG_AGO
            elif key in asked or world.has_new_field:  # lists are only as new as the states that teach how to read them
                since = began - MAX_AGE - MAX_LAG
            else:
                since = began - MAX_LAG
            assert not list(history.find_lies(key, objects, since=since, untold=world.untold))
            if not world.has_new_field:
                assert not list(history.find_regress(key, self._known.get(key, {}), objects, untold=world.untold))
        if (run.status, run.reason) != ("partial", "moving"):
            alive = {key for key in world.states if history.moments[key][0].since <= began - MAX_LAG}
            assert not alive - mirrored.keys() - failed, f"somebody living was lost; {run.pass_number} passes"
        self._check_lost(mirrored)

    def _check_end(self, run: SyncRun, failed: set[str]) -> None:
        if (run.status, run.reason) == ("partial", "moving"):
            return
        if failed:
            assert self.world.has_broken_states or self.meddling, "somebody failed whom nothing was wrong with"
            assert (run.status, run.reason) == ("partial", "customers_failed")
        else:
            assert (run.status, run.reason) in {("succeeded", ""), ("partial", "empty_listing")}, run.detail

    def _check_lost(self, mirrored: dict[str, Objects]) -> None:
        """What the mirror has once known to be over comes back with Polar only."""
        if self.has_lists:
            for (owner, key), since in self._lost.items():
                is_back = key in mirrored.get(owner, {})
                assert not is_back or self.world.history.has_come_back(owner, key, since=since), f"{key} is back"
        for owner, objects in self._known.items():
            gone = objects.keys() - mirrored.get(owner, {}).keys()
            self._lost |= {(owner, key): self.world.now for key in gone}
        self._known = mirrored


def is_of_state(path: str) -> bool:
    return path.startswith("/v1/customers/") and path.endswith("/state")


@pytest.mark.django_db
@pytest.mark.parametrize("block", range(BLOCKS))
def test_run_stores_what_polar_says_whatever_moves(
    block: int, monkeypatch: pytest.MonkeyPatch, settings: Settings, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr("polar_sync.sync.completeness.PAGE_SIZE", PAGE_SIZE)
    for seed in get_seeds(block, base=pytestconfig.getoption("randomly_seed", None)):
        with monkeypatch.context() as patched, rolled_back():
            try:
                Schedule(seed, patched, settings).play()
            except BaseException as error:
                error.add_note(f"Once more: POLAR_SYNC_SCHEDULE={seed}")
                raise


def get_seeds(block: int, *, base: object) -> list[str]:
    single = os.environ.get("POLAR_SYNC_SCHEDULE")
    if single is not None:
        return [single] if block == 0 else []
    return [f"{base}.{number}" for number in range(SCHEDULES) if number % BLOCKS == block]
