"""The customers of one fake organization, with their answers kept as ready bytes until they change."""

from __future__ import annotations

import copy
import hashlib
import itertools
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from polar_sync.testing.additions import FieldAdditions
from polar_sync.testing.http import dump_json, format_timestamp

if TYPE_CHECKING:
    from polar_sync.testing.rows import Row

RowKind = Literal["subscription", "grant", "meter"]
SHUFFLED = ("active_subscriptions", "granted_benefits")
CHILDREN = (*SHUFFLED, "active_meters")
ACTIVE_STATUSES = frozenset({"trialing", "active", "past_due"})


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@dataclass(slots=True, eq=False)
class Record:
    """One customer: its own object (anything, so that hostile data can be served), and what its state adds.

    `state` overrides the state that is built from `customer` and `children`. `other_subscriptions` are those that
    Polar has and does not show in a state, such as past due ones; `other_grants` are revoked ones. `listed` holds, by
    the kind of row, recorded items of Polar's lists with their places in the recording; where a kind is missing, its
    rows are made from the state. `list_fields` are, by the id of a subscription or a grant, what lists and webhooks
    show of it and states do not. `rows` are the prepared rows.

    `cached_state_body` is what is answered instead of the state; `is_held` keeps it there whatever changes.
    """

    key: str
    sequence: int
    customer: Any
    created: datetime
    children: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in CHILDREN})
    state: Any = UNSET
    other_subscriptions: list[dict[str, Any]] = field(default_factory=list)
    other_grants: list[dict[str, Any]] = field(default_factory=list)
    listed: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    list_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    additions: FieldAdditions = field(default_factory=FieldAdditions)
    rows: dict[tuple[str, bool], list[Row]] = field(default_factory=dict)
    cached_state_body: bytes | None = None
    is_held: bool = False
    balance: int = 0
    has_own_billing_name: bool = False
    _customer_body: bytes | None = None
    _state_body: bytes | None = None

    @property
    def customer_body(self) -> bytes:
        """The customer as JSON."""
        if self._customer_body is None:
            self._customer_body = dump_json(self.build_customer())
        return self._customer_body

    @property
    def state_body(self) -> bytes:
        """The state as JSON."""
        if self._state_body is None:
            self._state_body = dump_json(self.build_state())
        return self._state_body

    def build_customer(self) -> Any:
        """The customer as an object that shares its parts with this record."""
        return self.additions.extend("customer", "lists", self.customer)

    def build_state(self) -> Any:
        """The state as an object that shares its parts with this record."""
        return self.additions.extend_state(self._build_own_state())

    def get_children(self, name: str) -> list[Any]:
        """One of the state's arrays, without added fields; empty where the state has no such array."""
        state = self._build_own_state()
        value = state.get(name) if isinstance(state, dict) else None
        return value if isinstance(value, list) else []

    def get_list_fields(self, own: dict[str, Any]) -> dict[str, Any]:
        """What lists and webhooks show of a subscription or a grant beside what a state does."""
        return self.list_fields.get(str(own.get("id")), {})

    def set_children(self, name: str, values: list[Any]) -> None:
        """Have one of the state's arrays hold these; the old list stays what it was."""
        if isinstance(self.state, dict):
            self.state = {**self.state, name: values}
        else:
            self.children = {**self.children, name: values}

    def _build_own_state(self) -> Any:
        if self.state is not UNSET:
            return self.state
        own = self.customer if isinstance(self.customer, dict) else {}
        return {**own, **self.children}

    def shuffle_state(self, rng: random.Random) -> Any:
        """The state with subscriptions and grants in another order, as two calls to Polar may give."""
        state = copy.copy(self.build_state())
        if isinstance(state, dict):
            for name in SHUFFLED:
                if isinstance(state.get(name), list):
                    state[name] = rng.sample(state[name], len(state[name]))
        return state

    def get_text(self, name: str) -> str | None:
        """A field of the customer where it is text."""
        value = self.customer.get(name) if isinstance(self.customer, dict) else None
        return value if isinstance(value, str) else None

    @property
    def has_active_subscription(self) -> bool:
        """A trialing, active or past due subscription exists, shown in the state or not."""
        state = self.build_state()
        shown = state.get("active_subscriptions") if isinstance(state, dict) else None
        subscriptions = [*(shown if isinstance(shown, list) else ()), *self.other_subscriptions]
        return any(isinstance(one, dict) and one.get("status") in ACTIVE_STATUSES for one in subscriptions)

    def renew_state(self) -> None:
        """Answer the present state again, as Polar does after a change of it; not where it is held."""
        if not self.is_held:
            self.cached_state_body = None

    def forget_bodies(self) -> None:
        """Drop the prepared bytes; call it after any change."""
        self._customer_body = self._state_body = None
        self.rows = {}


class CustomerStore:
    """Living records by key (the customer's id), in the order they were put in; not locked by itself."""

    def __init__(self) -> None:
        self._living: dict[str, Record] = {}
        self._by_external_id: dict[str, Record] | None = None
        self._orders: dict[tuple[str, ...], list[Record]] = {}
        self._sequence = itertools.count()
        self.additions = FieldAdditions()
        self.deleted: dict[str, Record] = {}
        # Moves with every change, so that what others prepare from the whole can be told to be old.
        self.version = 0

    def __len__(self) -> int:
        return len(self._living)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._living.values())

    def put(
        self, customer: Any, *, now: datetime, key: str | None = None, children: dict[str, list[Any]] | None = None
    ) -> Record:
        """Put a record in, in the place of one with the same key.

        Without a key the customer's `id` is taken; where that is no text or already taken, the record is listed and
        cannot be addressed.
        """
        sequence = next(self._sequence)
        created = read_created_at(customer, default=now)
        record = Record(
            key or self._find_key(customer, sequence), sequence, customer, created, additions=self.additions
        )
        if children is not None:
            record.children = children
        old = self._living.get(record.key)
        if old is not None:
            record.sequence = old.sequence
        record.has_own_billing_name = record.get_text("billing_name") != record.get_text("name")
        self._living[record.key] = record
        self.deleted.pop(record.key, None)
        self.touch(record)
        return record

    def _find_key(self, customer: Any, sequence: int) -> str:
        own = customer.get("id") if isinstance(customer, dict) else None
        return own if isinstance(own, str) and own not in self._living else f"raw item {sequence}"

    def find(self, key: str) -> Record | None:
        """The living record with this key."""
        return self._living.get(key)

    def find_external(self, external_id: str) -> Record | None:
        """The living record with this external id, compared with case; the first where several carry it."""
        if self._by_external_id is None:
            self._by_external_id = {}
            for record in self:
                own = record.get_text("external_id")
                if own is not None:
                    self._by_external_id.setdefault(own, record)
        return self._by_external_id.get(external_id)

    def find_email(self, email: str) -> Record | None:
        """The living record with this email, compared without case."""
        wanted = email.casefold()
        return next((one for one in self if (one.get_text("email") or "").casefold() == wanted), None)

    def remove(self, record: Record) -> None:
        """Take a record out of the living; its external id is free from now on."""
        del self._living[record.key]
        self.deleted[record.key] = record
        self.touch(record)

    def touch(self, record: Record) -> None:
        """Forget what was prepared from `record` and from the order of all."""
        record.forget_bodies()
        record.created = read_created_at(record.customer, default=record.created)
        self._by_external_id = None
        self._orders.clear()
        self.version += 1

    def forget_all(self) -> None:
        """Forget everything that was prepared, after a change that is in the answers of many."""
        for record in itertools.chain(self, self.deleted.values()):
            record.forget_bodies()
        self.version += 1

    def sort(self, sorting: tuple[str, ...]) -> list[Record]:
        """All living records in this order, equal ones in the order they were put in; do not change the list."""
        if sorting not in self._orders:
            self._orders[sorting] = sort_records(self, sorting)
        return self._orders[sorting]


def sort_records(records: Iterable[Record], sorting: tuple[str, ...]) -> list[Record]:
    """Sort by Polar's criteria, leaving equal records as they are; null is the greatest value, as in PostgreSQL."""
    ordered = list(records)
    for criterion in reversed(sorting):
        name = criterion.removeprefix("-")
        ordered.sort(key=lambda record: _get_sort_key(record, name), reverse=criterion.startswith("-"))
    return ordered


def _get_sort_key(record: Record, name: str) -> tuple[bool, Any]:
    if name == "created_at":
        return (False, record.created)
    text = record.get_text(name)
    return (text is None, text or "")


def read_created_at(customer: Any, *, default: datetime) -> datetime:
    """An object's `created_at`; `default` where it is missing or no timestamp."""
    try:
        moment = datetime.fromisoformat(customer["created_at"])
    except (KeyError, IndexError, TypeError, ValueError):
        return default
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def build_defaults(given: dict[str, Any], *, customer_id: str, organization_id: str, now: datetime) -> dict[str, Any]:
    """A whole new customer in Polar's order of fields; `given` decides what depends on other fields."""
    own_id = given.get("id", customer_id)
    unique = f"customer-{str(own_id)[:8]}@example.com"
    email = given.get("email", None if given.get("type") == "team" else unique)
    return {
        "id": own_id,
        "created_at": format_timestamp(now),
        "modified_at": None,
        "metadata": {},
        "external_id": None,
        "email": email,
        "email_verified": False,
        "type": "individual",
        "name": None,
        "billing_name": given.get("name"),
        "billing_address": None,
        "tax_id": None,
        "locale": None,
        "organization_id": organization_id,
        "default_payment_method_id": None,
        "deleted_at": None,
        "first_user_event_at": None,
        "avatar_url": build_avatar_url(email),
    }


def to_plain(value: Any) -> Any:
    """Ids and instants as their JSON text; everything else as it is."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return format_timestamp(value)
    return value


def strip_children(state: dict[str, Any]) -> dict[str, Any]:
    """A state without its three arrays: the customer."""
    return {name: value for name, value in state.items() if name not in CHILDREN}


def build_avatar_url(email: Any) -> str | None:
    """The Gravatar that Polar gives a customer with an email."""
    if not isinstance(email, str):
        return None
    digest = hashlib.sha256(email.lower().encode("utf-8", "replace")).hexdigest()
    return f"https://www.gravatar.com/avatar/{digest}?d=404"


def scrub_customer(customer: dict[str, Any]) -> dict[str, Any]:
    """The fields that `anonymize=true` replaces; the name of a business with a tax id stays."""
    email = customer.get("email")
    scrubbed: dict[str, Any] = {"billing_address": None, "avatar_url": None, "metadata": {}}
    if isinstance(email, str):
        scrubbed["email"] = f"{_hash(email)}@anonymized.example"
    if not customer.get("tax_id"):
        names = ("name", "billing_name")
        scrubbed |= {name: _hash(value) for name in names if isinstance(value := customer.get(name), str)}
    return scrubbed


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
