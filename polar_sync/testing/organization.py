"""One organization as it is on the fake server: its data, its tokens, its clock; no HTTP."""

from __future__ import annotations

import copy
import random
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from polar_sync.testing.auth import ORGANIZATION_SCOPES, SESSION_SCOPES, TokenRegistry
from polar_sync.testing.catalogue import Catalogue
from polar_sync.testing.customers import (
    build_avatar_url,
    build_defaults,
    scrub_customer,
    strip_children,
    to_plain,
)
from polar_sync.testing.store import CustomerStore, Record
from polar_sync.testing.wire import format_timestamp

SESSION_LIFETIME = timedelta(hours=1)


def get_utc_now() -> datetime:
    """The real time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Shared:
    """What the organizations of one server have in common."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    tokens: TokenRegistry = field(default_factory=TokenRegistry)


class FakeOrganization:
    """The data of one organization, and the Python way to look at it and to change it.

    `clock` gives the present time (aware); `clock_offset` sets this server's clock off from it, in the `Date` header
    and in every timestamp made here. With a `seed`, ids and tokens are the same in every run. Values given here are
    kept as they are, checked by nobody: duplicates and nonsense can be served. Methods that take a customer's id raise
    `KeyError` where no living customer has it. With `shuffle_ties` equal sort keys come in another order at each list,
    with `shuffle_arrays` the arrays of a state do; both happen on Polar.
    """

    def __init__(
        self,
        *,
        seed: int | str | None = None,
        organization_id: str | uuid.UUID | None = None,
        clock: Callable[[], datetime] = get_utc_now,
        shared: Shared | None = None,
    ) -> None:
        self._rng = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.shared = shared or Shared()
        self.clock = clock
        self.clock_offset = timedelta()
        self.shuffle_ties = False
        self.shuffle_arrays = False
        self.organization_id = str(organization_id or self.make_id())
        self.catalogue = Catalogue.generate(self._rng)
        self.store = CustomerStore()
        self.access_token = self.create_token()

    def now(self) -> datetime:
        """This server's time."""
        return self.clock() + self.clock_offset

    def make_id(self) -> str:
        """A new random UUID, as text."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    # Tokens

    def create_token(self, scopes: Iterable[str] | None = None, *, expires_at: datetime | None = None) -> str:
        """A new organization token, with all scopes unless told otherwise."""
        value = f"polar_oat_fake_{self._rng.getrandbits(128):032x}"
        wanted = ORGANIZATION_SCOPES if scopes is None else scopes
        with self.shared.lock:
            self.shared.tokens.add(value, organization_id=self.organization_id, scopes=wanted, expires_at=expires_at)
        return value

    def revoke_token(self, token: str) -> None:
        """Have `token` answered with 401 from now on."""
        with self.shared.lock:
            self.shared.tokens.revoke(token)

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
            return copy.deepcopy(self.store.deleted)

    def get_record(self, customer_id: str | uuid.UUID) -> Record:
        """The living record itself; call `store.touch` after changing it."""
        record = self.store.find(str(customer_id))
        if record is None:
            raise KeyError(f"there is no living customer {customer_id}")
        return record

    def get_customer(self, customer_id: str | uuid.UUID) -> Any:
        """What `GET /v1/customers/{id}` answers."""
        with self.shared.lock:
            return copy.deepcopy(self.get_record(customer_id).customer)

    def get_state(self, customer_id: str | uuid.UUID) -> Any:
        """What `GET /v1/customers/{id}/state` answers."""
        with self.shared.lock:
            return copy.deepcopy(self.get_record(customer_id).build_state())

    # Changing

    def create_customer(self, **fields: Any) -> dict[str, Any]:
        """Add a customer and give it back; what is not given gets Polar's default, and an email of its own."""
        given = {name: to_plain(value) for name, value in fields.items()}
        with self.shared.lock:
            now = self.now()
            defaults = build_defaults(given, customer_id=self.make_id(), organization_id=self.organization_id, now=now)
            customer = {**defaults, **given}
            self.store.put(copy.deepcopy(customer), now=now)
        return customer

    def update_customer(self, customer_id: str | uuid.UUID, **fields: Any) -> dict[str, Any]:
        """Change fields of a customer and give it back; `modified_at` moves unless it is given."""
        with self.shared.lock:
            record = self.get_record(customer_id)
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
            self.store.touch(record)
            return copy.deepcopy(record.customer)

    def delete_customer(self, customer_id: str | uuid.UUID, *, anonymize: bool = False) -> None:
        """Delete a customer: 404 from now on, its external id free, its sessions over."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            if isinstance(record.customer, dict):
                now = format_timestamp(self.now())
                scrubbed = scrub_customer(record.customer) if anonymize else {}
                gone = {"external_id": None, "modified_at": now, "deleted_at": now}
                record.customer = {**record.customer, **scrubbed, **gone}
            self.store.remove(record)
            self.shared.tokens.revoke_sessions(record.key)

    def replace_state(self, customer_id: str | uuid.UUID, state: Any) -> None:
        """Serve `state`, whatever it is, as the state of a customer.

        Where it is an object with the customer's own id, the customer's own fields are taken from it too.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            record.state = copy.deepcopy(state)
            if isinstance(state, dict) and state.get("id") == record.key:
                record.customer = strip_children(record.state)
                record.has_own_billing_name = record.get_text("billing_name") != record.get_text("name")
            self.store.touch(record)

    def put_state(self, state: dict[str, Any]) -> str:
        """Add the customer of this state as it is, or replace it; gives its id back.

        A state without an `id` in text is a `TypeError`: `put_raw_item` serves such things.
        """
        key = state.get("id")
        if not isinstance(key, str):
            raise TypeError("a state needs an id that is text; use put_raw_item for anything else")
        with self.shared.lock:
            if self.store.find(key) is None:
                self.store.put(strip_children(state), now=self.now(), key=key)
            self.replace_state(key, state)
        return key

    def put_raw_item(self, item: Any) -> str:
        """List `item`, whatever it is, among the customers; gives back the key that `delete_customer` takes.

        An object with an `id` in text that is new can also be got by it; its state is the object with empty arrays.
        """
        with self.shared.lock:
            return self.store.put(copy.deepcopy(item), now=self.now()).key

    def set_balance(self, customer_id: str | uuid.UUID, cents: int) -> None:
        """What the old balance operation answers for a customer; positive is credit."""
        with self.shared.lock:
            self.get_record(customer_id).balance = cents
