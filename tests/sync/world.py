"""A Polar that changes before its answers, and answers oddly, as a seed says; what it says is noted with its time."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from polar_sync.testing import FakePolar, Fault
from polar_sync.testing.customers import build_defaults
from polar_sync.testing.faults import FaultList
from tests.factories import CHILD_ARRAYS
from tests.sync.children import Children, State
from tests.sync.history import History
from tests.sync.socketless import lie_about_pages

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
BIRTH = datetime(2026, 1, 1, tzinfo=UTC)
MAX_LAG = timedelta(seconds=5)
"""By so much a replica may be behind."""
MAX_AGE = timedelta(minutes=60)
"""So long Polar may answer with a state that it has stored."""
STATE = "customers:get_state"
_FIELDS = {"subscription": "amount", "subscription_meter": "consumed_units", "grant": "properties", "meter": "balance"}
_FROM_REPLICA = frozenset({"customers:list", "customers:get", STATE, "subscriptions:list", "products:list"})
_BROKEN: tuple[Any, ...] = ({}, [], {"id": 5}, {"active_subscriptions": None}, "text", None)

Change = Callable[[FakePolar], object]


class World:
    """Time passes with each request. `states` are those of its living customers, without further fields."""

    def __init__(self, seed: str) -> None:
        self.rng = rng = random.Random(seed)
        self.now = START
        self.polar = FakePolar(seed=seed, clock=lambda: self.now, shuffle_ties=rng.random() < 0.6)
        self.polar.faults = FaultList(seed=rng.randrange(10**6))
        self.polar.shuffle_arrays = True
        self.polar.shows_deleted = rng.random() < 0.5
        self.replica = FakePolar(seed=seed, clock=lambda: self.now) if rng.random() < 0.4 else None
        self.states: dict[str, State] = {}
        self.history = History()
        self.is_quiet = False
        self._pending: list[tuple[datetime, Change]] = []
        self._held: dict[str, datetime] = {}
        self.children = Children(rng, self.polar.catalogue, lambda: self.now)
        self._draw_life()
        self._draw_fields()
        self._draw_clock()
        self._draw_faults()
        self._route()
        self.polar.before(None, self.tick, times=None)
        self.polar.before("customers:list", self.change, times=None)

    def _draw_life(self) -> None:
        rng = self.rng
        self.share_of_ties = rng.choice((0.0, 0.0, 0.1, 0.5))
        self.changes_per_list = rng.choice((0.0, 0.15, 0.4, 1.0, 2.0))
        self.deletions = rng.choice((0.3, 0.7, 1.0))
        self.edits = rng.choice((0.0, 1.0, 4.0))
        self.edits_per_request = rng.choice((0.0, 0.0, 0.1, 0.5))
        self.share_held = rng.choice((0.0, 0.3, 1.0))
        self.born = BIRTH
        for _ in range(rng.randrange(8, 33)):
            self.add_old_customer()
        if rng.random() < 0.3:
            self.archive_meter()

    def _draw_fields(self) -> None:
        """A list that says otherwise than the state; fields that Polar has added, for all or for some."""
        rng = self.rng
        self.new_field: tuple[Any, ...] | None = None
        self.has_new_field = False
        self.untold = {"seats", "units"}
        """Fields that lists tell falsely, or not at all, or that the contract does not have in states."""
        case = rng.choice(("", "", "", "lie", "added", "added later", "rare"))
        kind: Any = rng.choice(sorted(_FIELDS))
        if case == "lie":
            self.untold.add(_FIELDS[kind])
            self._add_field(kind, _FIELDS[kind], 999, where="lists")
        elif case == "added":
            where = rng.choice(("both", "states", "lists"))
            self.untold |= {"added"} if where == "states" else set()
            self._add_field(kind, "added", {"deep": [1]}, where=where)
        elif case == "added later":
            self.new_field, self.has_new_field = (kind, "added", 1, rng.choice(("both", "states", "lists"))), True
            self.untold.add("added")
        elif case == "rare":
            for key in rng.sample(sorted(self.states), len(self.states) // 3):
                self._put(key, self._with_rare_field(self.states[key]))

    def _draw_clock(self) -> None:
        """Our own clock is off by `skew`; some answers have a `Date` that is far off, or are of another machine."""
        rng = self.rng
        self.skew = timedelta(seconds=rng.choice((0, 0, -200, 30, 200)))
        self.edges = rng.choice(((0,), (0, 2), (0, 2), (-1, 1), (0, 0, 0, 3600)))
        self.share_of_wild_dates = rng.choice((0.0, 0.0, 0.05, 0.2))

    def _draw_faults(self) -> None:
        rng = self.rng
        self.has_broken_states = False
        for kind, bodies in (("missing", (None,)), ("malformed", _BROKEN)):
            chance = rng.choice((0.0, 0.0, 0.0, 0.05, 0.5))
            if chance:
                self.has_broken_states = True
                body = rng.choice(bodies)
                self.polar.faults.add(Fault(kind=kind, operation=STATE, chance=chance, body=body, times=None))  # type: ignore[arg-type]
        if rng.random() < 0.3:
            lie_about_pages(self.polar, self.miscount)

    def _route(self) -> None:
        """What Polar reads from its replica, as it was some seconds ago; but for states that it has stored."""
        if self.replica is None:
            return
        replica, answer = self.replica, self.polar.operations.answer

        def route(operation: str, call: Any) -> Any:
            is_held = operation == STATE and call.parameters["id"] in self._held
            source = replica.operations.answer if operation in _FROM_REPLICA and not is_held else answer
            return source(operation, call)

        self.polar.operations.answer = route  # type: ignore[method-assign]

    # Time

    def read_own_clock(self) -> datetime:
        """Our own clock."""
        return self.now + self.skew

    def tick(self) -> None:
        """What happens before each answer."""
        self.pass_time(self.rng.choice((0.001, 0.05, 0.05, 0.3, 2.0)))
        is_wild = not self.is_quiet and self.rng.random() < self.share_of_wild_dates
        self.polar.date_offset = self._draw_wild_offset() if is_wild else timedelta(seconds=self.rng.choice(self.edges))
        if not self.is_quiet and self.rng.random() < self.edits_per_request:
            self.edit()

    def _draw_wild_offset(self) -> timedelta:
        """No two alike, but for whole hours now and then."""
        seconds = self.rng.choice((60, 3600, 86_400, 10**8)) * self.rng.uniform(-1, 1)
        return self.rng.choice((timedelta(hours=1), timedelta(seconds=seconds), timedelta(seconds=seconds)))

    def pass_time(self, seconds: float) -> None:
        """The replica follows, and states are stored anew."""
        self.now += timedelta(seconds=seconds)
        due = [change for at, change in self._pending if at <= self.now]
        self._pending = [(at, change) for at, change in self._pending if at > self.now]
        for change in due:
            change(self.replica)  # type: ignore[arg-type]  # only filled where there is one
        for key, until in list(self._held.items()):
            if until <= self.now:
                self._release(key)

    def calm_down(self) -> None:
        """No more changes, faults, or states that are out of date."""
        self.is_quiet = True
        self.polar.faults.clear()
        self.polar.before(None, self.tick, times=None)
        self.polar.shuffle_ties = False
        self.pass_time(10)
        for key in list(self._held):
            self._release(key)

    def hold(self, key: str) -> None:
        """Polar goes on answering with the state of now: for some seconds, or as long as it ever does."""
        is_new = self.now == START or key not in self.states
        if is_new or key in self._held or self.rng.random() >= self.share_held:
            return
        record = self.polar.get_record(key)
        record.cached_state_body = record.state_body
        seconds = self.rng.choice((3, 6, 600, MAX_AGE.total_seconds()))
        self._held[key] = self.now + timedelta(seconds=seconds)

    def _release(self, key: str) -> None:
        del self._held[key]
        if key in self.states:
            self.polar.get_record(key).cached_state_body = None

    # Changes

    def _do(self, change: Change) -> None:
        change(self.polar)
        if self.replica is not None:
            lag = timedelta(seconds=self.rng.choice((0, 1, 4.9))) if self.now > START else timedelta()
            latest = max((at for at, _ in self._pending), default=self.now)
            self._pending.append((max(latest, self.now + lag), change))
            self.pass_time(0)

    def _put(self, key: str, state: State) -> None:
        """This is the state from now on; what has ended stays on the lists."""
        self.hold(key)
        self.states[key] = state
        state, ended = copy.deepcopy(state), copy.deepcopy(self.children.ended.get(key, {}))

        def put(polar: FakePolar) -> None:
            polar.put_state(state)
            polar.set_other_subscriptions(key, ended.get("active_subscriptions", ()))
            polar.set_other_grants(key, ended.get("granted_benefits", ()))

        self._do(put)
        self.note(key)

    def note(self, key: str) -> None:
        """What Polar says of this customer from now on."""
        self.history.note(key, self.polar.get_state(key) if key in self.states else None, at=self.now)

    def _add_field(self, kind: Any, name: str, value: Any, *, where: Any) -> None:
        self._do(lambda polar: polar.add_field(kind, name, value, where=where))
        for key in self.states:
            self.note(key)

    def _with_rare_field(self, state: State) -> State:
        return {**state, **{name: [{**each, "rare": 5} for each in state[name]] for name in CHILD_ARRAYS}}

    def add_old_customer(self) -> None:
        if self.rng.random() >= self.share_of_ties:
            self.born += timedelta(seconds=self.rng.randrange(1, 100))
        self.add_customer(created_at=self.born)

    def add_customer(self, *, created_at: datetime) -> None:
        """With whatever a customer may have."""
        rng, key = self.rng, self.children.make_id()
        customer = build_defaults({}, customer_id=key, organization_id=self.polar.organization_id, now=created_at)
        state = {**customer, **{name: [] for name in CHILD_ARRAYS}}
        state["type"] = rng.choice(("individual", "individual", "team"))
        for _ in range(rng.choice((0, 1, 1, 2))):
            self.children.add(state, at=created_at)
        self._put(key, state)

    def archive_meter(self) -> None:
        """From now on it is listed only where it is named."""
        meter_id = self.rng.choice(self.polar.meters)["id"]
        self._do(lambda polar: polar.archive_meter(meter_id))

    def change(self) -> None:
        """Customers come and go."""
        if self.is_quiet:
            return
        if self.new_field is not None and self.rng.random() < 0.2:
            kind, name, value, where = self.new_field
            self.new_field = None
            self._add_field(kind, name, value, where=where)
        for _ in range(self._draw_count(self.changes_per_list)):
            if self.rng.random() < self.deletions:
                self.delete_any()
            else:
                self.add_young_customer()
        for _ in range(self._draw_count(self.edits)):
            self.edit()

    def _draw_count(self, mean: float) -> int:
        return int(mean) + (self.rng.random() < mean % 1)

    def miscount(self, pages: int) -> int:
        """Mostly the truth; else fewer pages than there are, or far more."""
        return pages if self.is_quiet else self.rng.choice((pages, pages, 0, 1, pages + 1, 20_000))

    def delete_any(self) -> None:
        """Never all of them: an empty list does not tell whose it is."""
        if len(self.states) > 3:
            self.delete(self.rng.choice(sorted(self.states)))

    def add_young_customer(self) -> None:
        self.now += timedelta(milliseconds=1)
        self.add_customer(created_at=self.now)

    def delete(self, key: str) -> None:
        self.now += timedelta(milliseconds=1)
        del self.states[key]
        self._held.pop(key, None)
        self._do(lambda polar: polar.delete_customer(key))
        self.note(key)

    def edit(self, key: str = "") -> None:
        """Something about a customer changes: a field of its own, or what it has."""
        if not self.states:
            return
        self.now += timedelta(milliseconds=1)
        key = key or self.rng.choice(sorted(self.states))
        state = copy.deepcopy(self.states[key])
        self.children.change(state)
        self._put(key, state)

    def take_written(self, key: str) -> None:
        """What was written to Polar itself a moment ago."""
        own = copy.deepcopy(self.polar.get_record(key).customer)
        self._put(key, {**self.states[key], **own})
