"""Events in any order, late, twice or lost, beside runs and refreshes: schedules of which each follows from its seed.

`POLAR_SYNC_SCHEDULES` and `POLAR_SYNC_SCHEDULE` do here what they do in `test_moving_lists`.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import PolarSyncError
from polar_sync.models import Customer, PendingRefresh, WebhookDelivery
from polar_sync.sync import fetching
from polar_sync.testing import FakePolar
from tests.store.support import rolled_back
from tests.sync.history import split_state
from tests.sync.socketless import read_mirror, read_polar, serve
from tests.sync.test_moving_lists import BLOCKS, get_seeds

STATUSES = ("past_due", "active", "paused", "unpaid", "trialing", "incomplete")


class EventWorld:
    """A server whose changes make events, and the mirror that hears of them in its own time."""

    def __init__(self, seed: str, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self.rng = rng = random.Random(seed)
        self.now = datetime.now(UTC) - timedelta(days=1)
        self.polar = FakePolar(seed=seed, clock=lambda: self.now)
        self.polar.shuffle_arrays = True
        self.polar.webhooks.sender.is_background = False
        self.polar.webhooks.stale_states = rng.random() < 0.5
        self.polar.webhooks.add_endpoint("http://127.0.0.1:9/")
        self.size = rng.choice((1, 3, 20, 1000))
        self._monkeypatch = monkeypatch
        self._known = 0
        self._waiting: list[Any] = []
        serve(self.polar, monkeypatch, settings)
        self.entry = polar_settings.get_organization("default")
        self.row = sync.get_organization_row(self.entry)
        with self.polar.webhooks.silence():
            self.polar.generate_customers(rng.choice((1, 4, 12)))
        self.pass_time(7200)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def change(self) -> None:
        """Something happens at Polar."""
        self.pass_time(self.rng.choice((0.003, 0.5, 3, 40, 200)))
        with suppress(KeyError, IndexError):
            self.rng.choice(
                (
                    self._change_customer,
                    self._subscribe,
                    self._change_subscription,
                    self._change_subscription,
                    self._change_grant,
                    self._change_grant,
                    self._recount,
                    self._change_benefit,
                )
            )()

    def _choose(self) -> str:
        return self.rng.choice(self.polar.customers)

    def _change_customer(self) -> None:
        dice = self.rng.random()
        if dice < 0.2:
            self.polar.create_customer(name=f"New {self.now}", email=f"{self.now.timestamp()}@example.com")
        elif dice < 0.3:
            self.polar.delete_customer(self._choose())
        else:
            self.polar.update_customer(self._choose(), name=f"Named {self.now}")

    def _subscribe(self) -> None:
        product = self.rng.choice(self.polar.products)
        self.polar.subscribe(self._choose(), product, status=self.rng.choice(("active", "trialing", "incomplete")))

    def _change_subscription(self) -> None:
        key = self._choose()
        chosen = self.rng.choice(self.polar.get_state(key)["active_subscriptions"])
        change = self.rng.choice(("cancel", "revoke", "set_status", "cycle", "change_product"))
        if change == "set_status":
            self.polar.set_status(chosen, self.rng.choice(STATUSES), keeps_benefits=self.rng.random() < 0.3)
        elif change == "change_product":
            self.polar.change_product(chosen, self.rng.choice(self.polar.products))
        else:
            getattr(self.polar, change)(chosen)

    def _change_grant(self) -> None:
        key = self._choose()
        grants = self.polar.get_state(key)["granted_benefits"]
        if grants and self.rng.random() < 0.5:
            self.polar.revoke_grant(self.rng.choice(grants))
        else:
            give = self.rng.choice((self.polar.grant, self.polar.grant, self.polar.fail_grant))
            give(key, self.rng.choice(self.polar.benefits))

    def _recount(self) -> None:
        meter = self.rng.choice(self.polar.meters)["id"]
        self.polar.recount(self._choose(), meter, consumed=self.rng.random() * 100)

    def _change_benefit(self) -> None:
        self.polar.update_benefit(self.rng.choice(self.polar.benefits)["id"], metadata={"at": str(self.now)})

    def hear(self, share: float, *, loses: bool = False) -> None:
        """Some of what was not received yet arrives, in any order and now and then twice."""
        events = self.polar.webhooks.events
        self._waiting += events[self._known :]
        self._known = len(events)
        self.rng.shuffle(self._waiting)
        count = round(len(self._waiting) * share)
        arriving, self._waiting = self._waiting[:count], self._waiting[count:]
        arriving += [each for each in arriving if self.rng.random() < 0.2]
        for start in range(0, len(arriving), self.size):
            for event in arriving[start : start + self.size]:
                read = sync.read_event(event.payload)
                sync.keep_delivery(self.row, webhook_id=event.id, body=event.payload, event=read)
            if self.rng.random() < 0.8:
                sync.process_all(self.entry, self.row)

    def ask(self) -> None:
        """A minute passes here: all who are pending are due."""
        PendingRefresh.objects.update(due_at=timezone.now())
        with sync.connect(self.entry) as connection:
            sync.ask_all_due(self.entry, self.row, connection)

    def run(self) -> None:
        """A run, during which things happen between the reading of a page and its writing."""
        commit = vars(fetching)["commit_page"]

        def commit_late(*args: Any, **rest: Any) -> int:
            for _ in range(self.rng.choice((0, 0, 2))):
                self.change()
            self.hear(self.rng.random())
            result: int = commit(*args, **rest)
            return result

        with sync.connect(self.entry) as connection, self._monkeypatch.context() as patched:
            patched.setattr(fetching, "commit_page", commit_late)
            sync.work_in_foreground(sync.begin_run(self.entry), connection)
        self.row.refresh_from_db()

    def refresh(self) -> None:
        with sync.connect(self.entry) as connection, suppress(PolarSyncError, IndexError):
            sync.refresh_customer(self.entry, UUID(self._choose()), connection)

    def play(self) -> None:
        if self.rng.random() < 0.8:
            self.run()
        for _ in range(self.rng.choice((3, 10, 25))):
            for _ in range(self.rng.choice((0, 1, 4))):
                self.change()
            dice = self.rng.random()
            if dice < 0.7:
                self.hear(self.rng.choice((0.3, 0.7, 1.0)))
            elif dice < 0.8:
                self.ask()
            elif dice < 0.9:
                self.refresh()
            elif dice < 0.95:
                self.run()
            self._check_deleted()
        self.pass_time(3)
        self.hear(1.0)
        sync.process_all(self.entry, self.row)
        self.ask()

    def _check_deleted(self) -> None:
        marked = {str(key) for key in Customer.all_objects.exclude(deleted_at=None).values_list("pk", flat=True)}
        assert not marked & set(self.polar.customers), "somebody living was marked deleted"

    def check(self) -> None:
        """What the mirror holds is what Polar has."""
        left = WebhookDelivery.objects.filter(status__in=("received", "failed"))
        assert not [(each.type, each.reason) for each in left]
        assert not [(str(each.customer_id), each.reason) for each in PendingRefresh.objects.all()]
        self._check_deleted()
        metadata = {each["id"]: each["metadata"] for each in self.polar.benefits}
        mirrored, expected = read_mirror(), read_polar(self.polar)
        heard = {str(key) for key in WebhookDelivery.objects.values_list("customer_id", flat=True)}
        assert mirrored.keys() <= expected.keys(), "somebody deleted is mirrored"
        assert expected.keys() & heard <= mirrored.keys(), "somebody is missing"
        for key, state in mirrored.items():
            for grant in expected[key]["granted_benefits"]:  # the cached state keeps what it was
                grant["benefit_metadata"] = metadata[grant["benefit_id"]]
            ours, theirs = split_state(state), split_state(expected[key])
            places = ours.keys() | theirs.keys()
            assert not [
                find_difference(ours.get(each), theirs.get(each))
                for each in places
                if ours.get(each) != theirs.get(each)
            ]


def find_difference(ours: Any, theirs: Any) -> Any:
    """What differs of an object; all of it where only one side has it."""
    if ours is None or theirs is None:
        return ours, theirs
    return ours["id"], {name: (ours.get(name), theirs.get(name)) for name in ours if ours.get(name) != theirs.get(name)}


@pytest.mark.django_db
@pytest.mark.parametrize("block", range(BLOCKS))
def test_events_in_any_order_end_in_what_polar_has(
    block: int, monkeypatch: pytest.MonkeyPatch, settings: Settings, pytestconfig: pytest.Config
) -> None:
    for seed in get_seeds(block, base=pytestconfig.getoption("randomly_seed", None)):
        with monkeypatch.context() as patched, rolled_back():
            try:
                world = EventWorld(seed, patched, settings)
                world.play()
                world.check()
            except BaseException as error:
                error.add_note(f"Once more: POLAR_SYNC_SCHEDULE={seed}")
                raise
