"""One organization as it is on the fake server: its data, its tokens, its clock; no HTTP."""

from __future__ import annotations

import copy
import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from polar_sync.testing.auth import SESSION_SCOPES
from polar_sync.testing.changes import KINDS, Kind, fix_scopes, index_objects, put_object
from polar_sync.testing.customers import (
    Record,
    build_avatar_url,
    build_defaults,
    scrub_customer,
    strip_children,
    to_plain,
)
from polar_sync.testing.grants import build_revocation
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.subscriptions import SubscriptionOwner

BILLABLE = frozenset({"trialing", "active", "past_due"})
SESSION_LIFETIME = timedelta(hours=1)


class FakeOrganization(SubscriptionOwner):
    """The data of one organization, and the Python way to look at it and to change it.

    `clock` gives the present time (aware); `clock_offset` sets this server's clock off from it, in the `Date` header
    and in every timestamp made here. With a `seed`, ids and tokens are the same in every run. Values given here are
    kept as they are, checked by nobody: duplicates and nonsense can be served. Methods that take a customer's id raise
    `KeyError` where no living customer has it.

    What happens on Polar can be had here: with `shuffle_ties` equal sort keys come in another order at each list, with
    `shuffle_arrays` a state's subscriptions and grants do; with `shows_deleted` the lists of grants and customers'
    meters keep the rows of deleted customers; with `lists_other_price` a subscription with several prices has another
    deprecated `price_id` in the list than in the state. All four can be set at any time.

    Changes make the events that Polar makes, for the endpoints of `webhooks`; without any, none are made. With
    `has_members` (organizations of today) each customer has an owner, of whom `member.created` and `.deleted` tell.
    """

    def create_session(self, customer_id: str | uuid.UUID) -> dict[str, Any]:
        """A customer session as Polar answers it; `token` opens the customer portal for an hour."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            now = self.now()
            token = f"polar_cst_fake_{self._rng.getrandbits(128):032x}"
            expires_at = now + SESSION_LIFETIME
            self.shared.tokens.add(
                token,
                organization_id=self.organization_id,
                scopes=SESSION_SCOPES,
                customer_id=record.key,
                expires_at=expires_at,
            )
            email = quote(record.get_text("email") or "", safe="")
            return {
                "created_at": format_timestamp(now),
                "modified_at": None,
                "id": self.make_id(),
                "token": token,
                "expires_at": format_timestamp(expires_at),
                "return_url": None,
                "customer_portal_url": f"https://polar.test/portal?customer_session_token={token}&email={email}",
                "customer_id": record.key,
                "customer": copy.deepcopy(record.customer),
            }

    # Looking

    @property
    def customers(self) -> list[str]:
        """The ids of the living customers, oldest first."""
        with self.shared.lock:
            return [one.key for one in self.store.sort(("created_at",)) if one.get_text("id") == one.key]

    @property
    def deleted_customers(self) -> dict[str, Any]:
        """The deleted customers by id, as their last webhook would have shown them."""
        with self.shared.lock:
            return {key: copy.deepcopy(record.customer) for key, record in self.store.deleted.items()}

    def get_customer(self, customer_id: str | uuid.UUID) -> Any:
        """What `GET /v1/customers/{id}` answers."""
        with self.shared.lock:
            return copy.deepcopy(self.get_record(customer_id).build_customer())

    def get_state(self, customer_id: str | uuid.UUID) -> Any:
        """What `GET /v1/customers/{id}/state` answers where it is not cached."""
        with self.shared.lock:
            return copy.deepcopy(self.get_record(customer_id).build_state())

    # Changing

    def create_customer(self, *, owner: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Add a customer and give it back; what is not given gets Polar's default, and an email of its own.

        `owner` is the member whom a team starts with; only `member.created` shows it.
        """
        given = {name: to_plain(value) for name, value in fields.items()}
        with self.shared.lock:
            now = self.now()
            defaults = build_defaults(given, customer_id=self.make_id(), organization_id=self.organization_id, now=now)
            customer = {**defaults, **given}
            record = self.store.put(copy.deepcopy(customer), now=now)
            self.event_maker.tell_member(record, "created", email=(owner or {}).get("email"))
            self.event_maker.tell_customer(record, "created")
        return customer

    def update_customer(self, customer_id: str | uuid.UUID, **fields: Any) -> dict[str, Any]:
        """Change fields of a customer and give it back; `modified_at` moves unless it is given."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            before = self._note_state(record)
            changes = {name: to_plain(value) for name, value in fields.items()}
            if "billing_name" in changes:
                record.has_own_billing_name = True
            elif "name" in changes and not record.has_own_billing_name:
                changes["billing_name"] = changes["name"]
            if "email" in changes and "avatar_url" not in changes:
                changes["avatar_url"] = build_avatar_url(changes["email"])
            changes.setdefault("modified_at", format_timestamp(self.now()))
            record.customer = {**record.customer, **copy.deepcopy(changes)}
            if isinstance(record.state, dict):
                record.state = {**record.state, **copy.deepcopy(changes)}
            record.renew_state()
            self.store.touch(record)
            self.event_maker.tell_customer(record, "updated", before=before)
            return copy.deepcopy(record.customer)

    def delete_customer(self, customer_id: str | uuid.UUID, *, anonymize: bool = False) -> None:
        """Delete a customer: 404 from now on, its external id free, its sessions over.

        Subscriptions and grants end in jobs that come after it, so that the first state after the deletion still holds
        the grants. What `shows_deleted` keeps in the lists stays as it was.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            before = self._note_state(record)
            if isinstance(record.customer, dict):
                self.event_maker.tell_member(record, "deleted")
                now = format_timestamp(self.now())
                scrubbed = scrub_customer(record.customer) if anonymize else {}
                gone = {"external_id": None, "modified_at": now, "deleted_at": now}
                record.customer = {**record.customer, **scrubbed, **gone}
                if isinstance(record.state, dict):
                    record.state = {**record.state, **scrubbed, **gone}
            self.store.remove(record)
            self.shared.tokens.revoke_sessions(record.key)
            if self.webhooks.endpoints:
                self._tell_end(record, before=before)

    def _tell_end(self, record: Record, *, before: Any) -> None:
        """What is told of a deleted customer and of everything that ends with it."""
        ended = dataclasses.replace(record, rows={})
        fix_scopes(ended)
        now = format_timestamp(self.now())
        for one in index_objects(ended, "subscription").values():
            if one.get("status") in BILLABLE:
                whole = {**one, **self._build_end(), "modified_at": now}
                put_object(ended, "subscription", whole)
                self.event_maker.tell_subscription(ended, whole, before=one)
        self.event_maker.tell_customer(ended, "deleted", before=before)
        granted = [one for one in index_objects(ended, "grant").values() if one.get("granted_at") is not None]
        for one in granted:
            self._revoke_grant(ended, one)
        if granted:
            ended.forget_bodies()
            self.event_maker.tell_state(ended)

    def replace_state(self, customer_id: str | uuid.UUID, state: Any) -> None:
        """Serve `state`, whatever it is, as the state of a customer.

        Where it is an object with the customer's own id, the customer's own fields are taken from it too. Events tell
        of each thing that has changed by it.
        """
        with self.shared.lock:
            self._replace_state(self.get_record(customer_id), state)

    def _replace_state(self, record: Record, state: Any, *, is_new: bool = False) -> None:
        with self._comparing(record, is_new=is_new):
            record.state = copy.deepcopy(state)
            record.listed = {}
            if isinstance(state, dict) and state.get("id") == record.key:
                record.customer = strip_children(record.state)
                record.has_own_billing_name = record.get_text("billing_name") != record.get_text("name")
            record.renew_state()
            self.store.touch(record)

    @contextmanager
    def _comparing(self, record: Record, *, is_new: bool = False) -> Iterator[None]:
        """Around a change of anything: tell of what differs after it. Without endpoints there is nobody to tell."""
        if not self.webhooks.endpoints:
            yield
            return
        state, customer, before = record.build_state(), record.customer, self._note_state(record)
        known = {kind: index_objects(record, kind) for kind in KINDS}
        yield
        if is_new:
            self.event_maker.tell_member(record, "created")
            self.event_maker.tell_customer(record, "created")
        elif record.customer != customer:
            self.event_maker.tell_customer(record, "updated", before=before)
        self._tell_objects(record, known)
        if record.build_state() != state and record.customer == customer and not is_new:
            self.event_maker.tell_state(record, before=before)

    def _tell_objects(self, record: Record, known: dict[Kind, dict[str, dict[str, Any]]]) -> None:
        now = format_timestamp(self.now())
        ends: dict[Kind, dict[str, Any]] = {
            "subscription": {**self._build_end(), "modified_at": now},
            "grant": {**build_revocation(now), "modified_at": now},
        }
        for kind in KINDS:
            present = index_objects(record, kind)
            for key, old in known[kind].items():
                if key not in present:
                    self._tell_object(record, kind, {**old, **ends[kind]}, before=old)
            for key, one in present.items():
                if known[kind].get(key) != one:
                    self._tell_object(record, kind, one, before=known[kind].get(key))

    def _tell_object(self, record: Record, kind: Kind, one: dict[str, Any], *, before: dict[str, Any] | None) -> None:
        if kind == "subscription":
            self.event_maker.tell_subscription(record, one, before=before)
            return
        was_granted = before is not None and before.get("granted_at") is not None
        is_granted = one.get("granted_at") is not None
        what = "updated" if was_granted and is_granted else "revoked" if was_granted else "created"
        self.event_maker.tell_grant(record, one, what, previous=before and before.get("properties"))

    def set_other_subscriptions(self, customer_id: str | uuid.UUID, subscriptions: Iterable[dict[str, Any]]) -> None:
        """What the list of subscriptions has of a customer and the state has not, such as past due ones."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            with self._comparing(record):
                record.other_subscriptions = copy.deepcopy(list(subscriptions))
                self.store.touch(record)

    def set_other_grants(self, customer_id: str | uuid.UUID, grants: Iterable[dict[str, Any]]) -> None:
        """What the list of grants has of a customer and the state has not: revoked ones."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            with self._comparing(record):
                record.other_grants = copy.deepcopy(list(grants))
                self.store.touch(record)

    def hold_states(self) -> None:
        """Answer the state of every customer there is as it is now, whatever changes, as Polar does from its cache.

        Lists and the customers themselves show each change at once, and whoever is deleted has no state.
        """
        with self.shared.lock:
            for record in self.store:
                record.cached_state_body, record.is_held = record.state_body, True

    def renew_states(self) -> None:
        """Answer present states again, as Polar does once its job has renewed the cache."""
        with self.shared.lock:
            for record in self.store:
                record.cached_state_body, record.is_held = None, False

    def put_state(self, state: dict[str, Any]) -> str:
        """Add the customer of this state as it is, or replace it; gives its id back.

        A state without an `id` in text is a `TypeError`: `put_raw_item` serves such things.
        """
        key = state.get("id")
        if not isinstance(key, str):
            raise TypeError("a state needs an id that is text; use put_raw_item for anything else")
        with self.shared.lock:
            known = self.store.find(key)
            record = known or self.store.put(strip_children(state), now=self.now(), key=key)
            self._replace_state(record, state, is_new=known is None)
        return key

    def put_raw_item(self, item: Any) -> str:
        """List `item`, whatever it is, among the customers; gives back the key that `delete_customer` takes.

        An object with an `id` in text that is new can also be got by it; its state is the object with empty arrays.
        """
        with self.shared.lock:
            record = self.store.put(copy.deepcopy(item), now=self.now())
            self.event_maker.tell_customer(record, "created")
            return record.key

    def set_balance(self, customer_id: str | uuid.UUID, cents: int) -> None:
        """What the old balance operation answers for a customer; positive is credit."""
        with self.shared.lock:
            self.get_record(customer_id).balance = cents
