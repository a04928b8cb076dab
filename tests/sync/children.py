"""What customers have, made up and changed as a seed says."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from polar_sync.testing.catalogue import Catalogue
from polar_sync.testing.http import format_timestamp
from tests.factories import CHILD_ARRAYS, build_grant, build_meter, build_subscription, build_subscription_meter

State = dict[str, Any]
_OF_REVOKED = {"is_granted", "is_revoked", "revoked_at"}


class Children:
    """Changes states in place. `ended` is what customers had, by their ids and the arrays of a state."""

    def __init__(self, rng: random.Random, catalogue: Catalogue, read_clock: Callable[[], datetime]) -> None:
        self.ended: dict[str, dict[str, list[State]]] = {}
        self._rng = rng
        self._catalogue = catalogue
        self._read_clock = read_clock

    def change(self, state: State) -> None:
        """A field of the customer's own, or what it has."""
        self._rng.choice((self._rename, self.add, self.add, self._end, self._end, self._modify))(state)

    def make_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _now(self) -> str:
        return format_timestamp(self._read_clock())

    def _rename(self, state: State) -> None:
        state.update(name=f"Ada {self._rng.randrange(100)}", modified_at=self._now())

    def _modify(self, state: State) -> None:
        children = [(name, child) for name in ("active_subscriptions", "active_meters") for child in state[name]]
        if children:
            name, child = self._rng.choice(children)
            field = "amount" if name == "active_subscriptions" else "consumed_units"
            child.update({field: self._rng.randrange(1000), "modified_at": self._now()})

    def _end(self, state: State) -> None:
        """A subscription is over or past due, a grant revoked, a meter gone."""
        name = self._rng.choice(CHILD_ARRAYS)
        if not state[name]:
            return
        child = {**state[name].pop(self._rng.randrange(len(state[name]))), "modified_at": self._now()}
        if name == "active_subscriptions":
            child["status"] = self._rng.choice(("canceled", "past_due"))
        elif name == "granted_benefits":
            child |= {"is_granted": False, "is_revoked": True, "revoked_at": child["modified_at"]}
        self.ended.setdefault(state["id"], {}).setdefault(name, []).append(child)

    def add(self, state: State, at: datetime | None = None) -> None:
        """Something new, or what had ended comes back under its old id."""
        name = self._rng.choice(CHILD_ARRAYS)
        ended = self.ended.get(state["id"], {}).get(name, [])
        if ended and name != "active_meters" and self._rng.random() < 0.5:
            child = ended.pop()
            child = {key: value for key, value in child.items() if key not in _OF_REVOKED}
            child |= {"modified_at": self._now(), **({"status": "active"} if "status" in child else {})}
        else:
            child = self._make(name, created_at=format_timestamp(at or self._read_clock()))
        if name != "active_meters" or child["meter_id"] not in {each["meter_id"] for each in state[name]}:
            state[name].append(child)

    def _make(self, name: str, *, created_at: str) -> State:
        rng, catalogue = self._rng, self._catalogue
        fields = {"id": self.make_id(), "created_at": created_at}
        if name == "granted_benefits":
            benefit = rng.choice(catalogue.benefits[:3])
            told = {"benefit_id": benefit.id, "benefit_type": benefit.type, "benefit_metadata": dict(benefit.metadata)}
            return build_grant("x", **fields, **told)
        if name == "active_meters":
            return build_meter("x", **fields, meter_id=rng.choice(catalogue.meters).id)
        product = rng.choice(catalogue.products)
        meters = [
            build_subscription_meter("x", id=self.make_id(), created_at=created_at, meter_id=meter_id)
            for meter_id in product.meter_ids
        ]
        status = rng.choice(("active", "active", "trialing"))
        bought: State = {"product_id": product.id, "price_id": product.price_id, "status": status, "meters": meters}
        return build_subscription("x", **fields, **bought)
