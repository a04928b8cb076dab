"""The life of a subscription on the fake server.

Reference: https://polar.sh/docs/features/subscriptions.
"""

from __future__ import annotations

import copy
import uuid
from datetime import datetime, timedelta
from typing import Any

from polar_sync.testing.changes import (
    PRESENT,
    Found,
    Object,
    find_object,
    fix_scopes,
    list_objects,
    put_object,
    strip_nested,
)
from polar_sync.testing.customers import Record
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.orders import OrderOwner

PERIODS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}
TRIAL = timedelta(days=7)
UNCANCELED: dict[str, Any] = {"cancel_at_period_end": False, "canceled_at": None, "ends_at": None}


class SubscriptionOwner(OrderOwner):
    """The Python way to change subscriptions; each change makes the events that Polar makes.

    Subscriptions are named by their id or by an object that has it, such as an item of the list; an unknown one is a
    `KeyError`. A subscription that is given back is a copy of what lists show of it, without the objects they nest.
    Benefits follow the status: they are granted while it is active or trialing, and revoked when it is not.
    """

    def subscribe(
        self, customer_id: str | uuid.UUID, product: Object | None = None, *, status: str = "active", **fields: Any
    ) -> dict[str, Any]:
        """Have a customer subscribe to a product (the catalogue's first where none is named).

        `fields` are those of the subscription, such as `metadata`.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            chosen = self.get_product(product)
            built = self._build_subscription(chosen, status=status)
            whole = {**built, **copy.deepcopy(fields)}
            with self._changing(record):
                fix_scopes(record)
                put_object(record, "subscription", whole)
                self.event_maker.tell_subscription(record, whole)
                self._follow_status(record, whole, before={})
            return copy.deepcopy(whole)

    def cancel(self, subscription: Object, *, at_period_end: bool = True) -> dict[str, Any]:
        """Cancel a subscription at the end of its period, or at once, which is what `revoke` does."""
        if not at_period_end:
            return self.revoke(subscription)
        with self.shared.lock:
            ends_at = find_object(self.store, "subscription", subscription).whole.get("current_period_end")
            now = format_timestamp(self.now())
            return self.update_subscription(subscription, cancel_at_period_end=True, canceled_at=now, ends_at=ends_at)

    def uncancel(self, subscription: Object) -> dict[str, Any]:
        """Take back a cancellation at the period's end."""
        return self.update_subscription(subscription, **UNCANCELED)

    def revoke(self, subscription: Object) -> dict[str, Any]:
        """End a subscription now, and revoke its benefits."""
        return self.update_subscription(subscription, **self._build_end())

    def set_status(self, subscription: Object, status: str, *, keeps_benefits: bool = False) -> dict[str, Any]:
        """Give a subscription another status, with the times that go with it.

        `keeps_benefits` is an organization's grace period: one that is past due or unpaid stays granted.
        """
        now = format_timestamp(self.now())
        times: dict[str, dict[str, Any]] = {
            "past_due": {"past_due_at": now},
            "active": {"past_due_at": None, "paused_at": None},
            "canceled": self._build_end(),
            "paused": {"paused_at": now, "pause_at_period_end": False},
        }
        changed = {**times.get(status, {}), "status": status}
        return self.update_subscription(subscription, keeps_benefits=keeps_benefits, **changed)

    def pause(self, subscription: Object, *, at_period_end: bool = False) -> dict[str, Any]:
        """Pause a subscription now, as Polar's job does some time after the period's end, or ask for that."""
        if at_period_end:
            return self.update_subscription(subscription, pause_at_period_end=True)
        return self.set_status(subscription, "paused")

    def resume(self, subscription: Object) -> dict[str, Any]:
        """Begin a new period of a paused subscription, or take back that it is to be paused."""
        with self.shared.lock:
            found = find_object(self.store, "subscription", subscription)
            if found.whole.get("status") != "paused":
                return self.update_subscription(subscription, pause_at_period_end=False, resumes_at=None)
            now = self.now()
            period = self._build_period(now, interval=found.whole.get("recurring_interval"))
            return self.update_subscription(subscription, status="active", paused_at=None, resumes_at=None, **period)

    def cycle(self, subscription: Object) -> dict[str, Any]:
        """Come to the end of a period: the next one begins, or what was asked for it happens."""
        with self.shared.lock:
            found = find_object(self.store, "subscription", subscription)
            if found.whole.get("cancel_at_period_end"):
                now = format_timestamp(self.now())
                return self.update_subscription(subscription, status="canceled", ended_at=now)
            if found.whole.get("pause_at_period_end"):
                return self.pause(subscription)
            start = datetime.fromisoformat(found.whole["current_period_end"])
            period = self._build_period(start, interval=found.whole.get("recurring_interval"))
            fields = {"status": "active", **period}
            with self._changing(found.record):
                whole = self._change(found, fields, kinds=("subscription.cycled", "subscription.updated"))
                self._cycle_grants(found.record, subscription_id=whole["id"])
            return copy.deepcopy(strip_nested(whole))

    def change_product(self, subscription: Object, product: Object) -> dict[str, Any]:
        """Move a subscription to another product; what this does not give is revoked before anything is granted."""
        with self.shared.lock:
            chosen = self.get_product(product)
            return self.update_subscription(subscription, **build_price(chosen), product_id=chosen["id"])

    def update_subscription(
        self, subscription: Object, *, keeps_benefits: bool = False, **fields: Any
    ) -> dict[str, Any]:
        """Change fields of a subscription; the events follow from what they were and are."""
        with self.shared.lock:
            found = find_object(self.store, "subscription", subscription)
            with self._changing(found.record):
                whole = self._change(found, fields)
                if not keeps_benefits:
                    self._follow_status(found.record, whole, before=found.whole)
            return copy.deepcopy(strip_nested(whole))

    def _change(self, found: Found, fields: dict[str, Any], *, kinds: tuple[str, ...] = ()) -> dict[str, Any]:
        fix_scopes(found.record)
        whole = {**found.whole, "modified_at": format_timestamp(self.now()), **copy.deepcopy(fields)}
        put_object(found.record, "subscription", whole)
        self.event_maker.tell_subscription(found.record, whole, before=found.whole, kinds=kinds)
        return whole

    def _build_subscription(self, product: dict[str, Any], *, status: str) -> dict[str, Any]:
        now = self.now()
        started = format_timestamp(now)
        trial_ends = format_timestamp(now + TRIAL)
        is_trial = status == "trialing"
        period = self._build_period(now, interval=product["recurring_interval"])
        if is_trial:
            period["current_period_end"] = trial_ends
        return {
            "id": self.make_id(),
            "created_at": started,
            "modified_at": None,
            "custom_field_data": {},
            "metadata": {},
            "status": status,
            **build_price(product),
            **period,
            "trial_start": started if is_trial else None,
            "trial_end": trial_ends if is_trial else None,
            **UNCANCELED,
            "started_at": started,
            "product_id": product["id"],
            "discount_id": None,
            "meters": [self._build_meter(one, created_at=started) for one in product["prices"] if "meter_id" in one],
        }

    def _build_meter(self, price: dict[str, Any], *, created_at: str) -> dict[str, Any]:
        return {
            "created_at": created_at,
            "modified_at": None,
            "id": self.make_id(),
            "consumed_units": 0.0,
            "credited_units": 0,
            "amount": 0,
            "meter_id": price["meter_id"],
        }

    def _build_period(self, start: datetime, *, interval: Any) -> dict[str, Any]:
        ends = start + PERIODS.get(interval, PERIODS["month"])
        return {"current_period_start": format_timestamp(start), "current_period_end": format_timestamp(ends)}

    def _build_end(self) -> dict[str, Any]:
        now = format_timestamp(self.now())
        return {"status": "canceled", "canceled_at": now, "ends_at": now, "ended_at": now, "pause_at_period_end": False}

    def _follow_status(self, record: Record, subscription: dict[str, Any], *, before: dict[str, Any]) -> None:
        """Where status or product changed, revoke what the subscription gives no more, then grant what it gives."""
        is_giving, product_id = subscription.get("status") in PRESENT, str(subscription.get("product_id"))
        is_same = is_giving == (before.get("status") in PRESENT) and product_id == before.get("product_id", product_id)
        if is_same:
            return
        product = self.shelf.products.get(product_id, {"benefits": []})
        given = [one["id"] for one in product["benefits"]] if is_giving else []
        for grant in list_objects(record, "grant"):
            is_own = grant.get("subscription_id") == subscription["id"] and grant.get("granted_at") is not None
            if is_own and grant.get("benefit_id") not in given:
                self._revoke_grant(record, grant)
        scope = {"subscription_id": subscription["id"], "order_id": None}
        for benefit_id in given:
            self._grant(record, benefit_id, scope=scope, fields={})


def build_price(product: dict[str, Any]) -> dict[str, Any]:
    """What a subscription takes over from its product's first price."""
    price = product["prices"][0]
    return {
        "amount": price.get("price_amount", 0),
        "currency": price["price_currency"],
        "recurring_interval": product["recurring_interval"],
        "price_id": price["id"],
    }
