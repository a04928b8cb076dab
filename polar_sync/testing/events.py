"""Which change makes which events, and what these say.

References: https://polar.sh/docs/integrate/webhooks/events and the pages of each event below it.

Polar takes subscriptions, grants, products and benefits as they are inside the transaction that changes them. What is
told of customers comes from jobs of their own: the state is read, and only then is the time taken, so that of two jobs
that overlap the one with the later time may have read first.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from polar_sync.testing.catalogue import derive_id
from polar_sync.testing.catalogue_store import split_json, stamp_guild_tokens
from polar_sync.testing.customers import CHILDREN, Record
from polar_sync.testing.rows import GRANT_FIELDS, build_grant_item, build_subscription_item, lay_out
from polar_sync.testing.webhooks import SHARE

if TYPE_CHECKING:
    from polar_sync.testing.foundation import Foundation

ACTIVE = frozenset({"trialing", "active"})
REVOKED = frozenset({"canceled", "unpaid"})
# How much later than the other of two overlapping jobs says that it is; 3 ms have been seen.
OVERLAP = timedelta(milliseconds=3)
GRANT_EVENT_FIELDS = (*GRANT_FIELDS[:-1], "previous_properties", GRANT_FIELDS[-1])


def list_subscription_events(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    """The events of a subscription that was `before` (None: it is new) and is `after`, in Polar's order."""
    status = _get_status(after)
    is_active = status in ACTIVE
    if before is None:
        # The order that pays for it touches an active one once more.
        follow_up = ["active", "updated"] if is_active else []
        return [f"subscription.{one}" for one in ("created", *follow_up)]
    previous = _get_status(before)
    was_canceled, is_canceled = before.get("canceled_at") is not None, after.get("canceled_at") is not None
    is_revoked = status in REVOKED and previous not in REVOKED
    happened = {
        "active": is_active and previous not in ACTIVE and previous != "paused",
        "paused": status == "paused" != previous,
        "resumed": is_active and previous == "paused",
        "uncanceled": was_canceled and not is_canceled and previous != "canceled",
        "past_due": status == "past_due" != previous,
        "canceled": is_canceled and (not was_canceled or is_revoked),
        "revoked": is_revoked,
    }
    return ["subscription.updated", *(f"subscription.{name}" for name, is_so in happened.items() if is_so)]


def mix_states(older: dict[str, Any], newer: dict[str, Any], *, arrays: int) -> dict[str, Any]:
    """A state read while it changed: the customer, which is read first, and so many of its arrays are older."""
    return {**older, **{name: newer.get(name, []) for name in CHILDREN[arrays:]}}


def _get_status(subscription: dict[str, Any]) -> str | None:
    status = subscription.get("status")
    return status if isinstance(status, str) else None


class EventMaker:
    """Makes the events of one organization; called with its lock held, after each change."""

    def __init__(self, organization: Foundation) -> None:
        self._organization = organization
        self._webhooks = organization.webhooks

    def tell_customer(self, record: Record, what: str, *, before: Any = None) -> None:
        """`customer.created`, `.updated` or `.deleted`, and the change of state that follows each."""
        if not isinstance(record.customer, dict):
            return
        if self._webhooks.wants(f"customer.{what}"):
            self._webhooks.make_events(f"customer.{what}", record.build_customer())
        self.tell_state(record, before=before)

    def tell_member(self, record: Record, what: str, *, email: str | None = None) -> None:
        """`member.created` or `.deleted` for the owner of a customer."""
        address = email or record.get_text("email")
        if not self._organization.has_members or address is None or not self._webhooks.wants(f"member.{what}"):
            return
        customer = record.customer
        member = {
            "id": derive_id(record.key, "member"),
            "created_at": customer.get("created_at"),
            "modified_at": None,
            "customer_id": record.key,
            "email": address,
            "name": customer.get("name"),
            "external_id": customer.get("external_id"),
            "role": "owner",
        }
        self._webhooks.make_events(f"member.{what}", member)

    def tell_state(self, record: Record, *, before: Any = None) -> None:
        """`customer.state_changed`; given what was `before`, now and then a second one with some of that."""
        kind = "customer.state_changed"
        if not self._webhooks.wants(kind):
            return
        state = record.build_state()
        self._webhooks.make_events(kind, state)
        rng = self._webhooks.rng
        if isinstance(before, dict) and isinstance(state, dict) and rng.random() < SHARE:
            older = mix_states(before, state, arrays=rng.randint(0, len(CHILDREN)))
            self._webhooks.make_events(kind, older, after=OVERLAP)

    def tell_subscription(
        self,
        record: Record,
        after: dict[str, Any],
        *,
        before: dict[str, Any] | None = None,
        kinds: tuple[str, ...] = (),
    ) -> None:
        """What a subscription that was `before` and is `after` makes, unless `kinds` says it."""
        wanted = [one for one in kinds or list_subscription_events(before, after) if self._webhooks.wants(one)]
        if wanted:
            organization = self._organization
            item = build_subscription_item(after, record=record, shelf=organization.shelf, lists_other_price=False)
            data = self._write(organization.store.additions.extend_subscription("lists", item))
            for kind in wanted:
                self._webhooks.make_events(kind, data)

    def tell_grant(self, record: Record, grant: dict[str, Any], what: str, *, previous: Any = None) -> None:
        """`benefit_grant.created`, `.updated`, `.cycled` or `.revoked`; `previous` are its properties before."""
        if not self._webhooks.wants(f"benefit_grant.{what}"):
            return
        item = build_grant_item(grant, record=record, shelf=self._organization.shelf)
        item = self._organization.store.additions.extend("grant", "lists", item)
        item["previous_properties"] = previous if previous is not None else {}
        self._webhooks.make_events(f"benefit_grant.{what}", self._write(lay_out(item, GRANT_EVENT_FIELDS)))

    def tell_object(self, kind: str, value: dict[str, Any]) -> None:
        """An event about a product or a benefit, such as `product.updated`."""
        if self._webhooks.wants(kind):
            self._webhooks.make_events(kind, self._write(value))

    def _write(self, value: Any) -> Any:
        """A value with prepared parts as one of plain JSON."""
        body = stamp_guild_tokens(b"".join(split_json(value)), now=self._organization.now())
        return json.loads(body)
