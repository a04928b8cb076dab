"""Customers of a fake organization who change by themselves, for somebody who looks on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from polar_sync.testing.organization import FakeOrganization

FIRST_NAMES = ("Ada", "Alan", "Barbara", "Edsger", "Frances", "Grace", "Jean", "Ken", "Margaret", "Niklaus", "Søren")
LAST_NAMES = ("Allen", "Bartik", "Dijkstra", "Hamilton", "Hopper", "Kjær", "Liskov", "Lovelace", "Turing", "Wirth")
RECENT = 20

# Given a customer's id and state; returns whether there was something to change.
Change = Callable[[str, Mapping[str, Any]], bool]


class RandomChanges:
    """Makes one plausible change after the other: renames, subscriptions, cancellations, grants, usage, newcomers.

    Nobody is deleted. Half of the changes are of one of the latest `RECENT` customers, whom lists show first. The same
    `seed` makes the same changes of the same organization.
    """

    def __init__(self, organization: FakeOrganization, *, seed: int | str | None = None) -> None:
        self._organization = organization
        self._rng = random.Random(None if seed is None else f"changes {seed}")  # noqa: S311  repeatable, not secret
        self._customers = organization.customers
        # How often each is made, beside the others.
        self._changes: dict[str, tuple[int, Change]] = {
            "rename": (3, self._rename),
            "sign up": (1, self._sign_up),
            "subscribe": (4, self._subscribe),
            "cancel": (2, self._cancel),
            "uncancel": (1, self._uncancel),
            "grant": (2, self._grant),
            "revoke a grant": (1, self._revoke_grant),
            "use": (3, self._use),
        }

    def make(self) -> str:
        """Change somebody, and say what was done; "" where there was nobody whom anything could be done to."""
        left = dict(self._changes)
        with self._organization.shared.lock:
            key = self._choose_customer()
            while key and left:
                (name,) = self._rng.choices(list(left), [weight for weight, _ in left.values()])
                _, change = left.pop(name)
                if change(key, self._organization.get_state(key)):
                    return name
        return ""

    def _choose_customer(self) -> str:
        """One who lives; "" where nobody does. Who was deleted meanwhile is forgotten."""
        while self._customers:
            is_recent = self._rng.choice((True, False))
            key = self._rng.choice(self._customers[-RECENT:] if is_recent else self._customers)
            if self._organization.store.find(key) is not None:
                return key
            self._customers.remove(key)
        return ""

    def _make_name(self) -> str:
        return f"{self._rng.choice(FIRST_NAMES)} {self._rng.choice(LAST_NAMES)}"

    def _rename(self, key: str, state: Mapping[str, Any]) -> bool:
        name = self._make_name()
        if name == state["name"]:
            return False
        self._organization.update_customer(key, name=name)
        return True

    def _sign_up(self, _: str, __: Mapping[str, Any]) -> bool:
        name = self._make_name()
        local = f"{name.replace(' ', '.').lower()}{self._rng.randrange(10**6)}".encode("ascii", "ignore").decode()
        created = self._organization.create_customer(name=name, email=f"{local}@example.com")
        self._customers.append(created["id"])
        return True

    def _subscribe(self, key: str, state: Mapping[str, Any]) -> bool:
        has = {one["product_id"] for one in state["active_subscriptions"]}
        products = [one for one in self._organization.products if one["id"] not in has]
        if not products:
            return False
        status = self._rng.choice(("active", "active", "trialing"))
        self._organization.subscribe(key, self._rng.choice(products), status=status)
        return True

    def _cancel(self, _: str, state: Mapping[str, Any]) -> bool:
        going_on = [one for one in state["active_subscriptions"] if not one["cancel_at_period_end"]]
        if not going_on:
            return False
        self._organization.cancel(self._rng.choice(going_on), at_period_end=self._rng.choice((True, False)))
        return True

    def _uncancel(self, _: str, state: Mapping[str, Any]) -> bool:
        ending = [one for one in state["active_subscriptions"] if one["cancel_at_period_end"]]
        if not ending:
            return False
        self._organization.uncancel(self._rng.choice(ending))
        return True

    def _grant(self, key: str, state: Mapping[str, Any]) -> bool:
        has = {one["benefit_id"] for one in state["granted_benefits"]}
        benefits = [one for one in self._organization.benefits if one["id"] not in has]
        if not benefits:
            return False
        self._organization.grant(key, self._rng.choice(benefits))
        return True

    def _revoke_grant(self, _: str, state: Mapping[str, Any]) -> bool:
        if not state["granted_benefits"]:
            return False
        self._organization.revoke_grant(self._rng.choice(state["granted_benefits"]))
        return True

    def _use(self, key: str, state: Mapping[str, Any]) -> bool:
        if not state["active_meters"]:
            return False
        meter = self._rng.choice(state["active_meters"])
        consumed = meter["consumed_units"] + self._rng.randrange(1, 500)
        self._organization.recount(key, meter["meter_id"], consumed=consumed)
        return True
