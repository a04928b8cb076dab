"""What an organization on the fake server stands on, and how its catalogue is changed."""

from __future__ import annotations

import copy
import random
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from polar_sync.testing.additions import Kind, Where
from polar_sync.testing.auth import ORGANIZATION_SCOPES, TokenRegistry
from polar_sync.testing.catalogue import Catalogue
from polar_sync.testing.catalogue_store import Objects, Shelf
from polar_sync.testing.changes import Object, get_id
from polar_sync.testing.customers import CustomerStore, Record, RowKind
from polar_sync.testing.events import EventMaker
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.sender import Sender
from polar_sync.testing.webhooks import Webhooks


def get_utc_now() -> datetime:
    """The real time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Shared:
    """What the organizations of one server have in common."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    tokens: TokenRegistry = field(default_factory=TokenRegistry)
    sender: Sender = field(default_factory=Sender)


class Foundation:
    """The stores of one organization, and what every part of it needs."""

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
        self.shows_deleted = False
        self.lists_other_price = False
        self.has_members = True
        self.organization_id = str(organization_id or self.make_id())
        self.catalogue = Catalogue.generate(self._rng)
        self.shelf = Shelf(self.catalogue, organization_id=self.organization_id)
        self.store = CustomerStore()
        self.access_token = self.create_token()
        self.webhooks = Webhooks(
            seed=seed, organization_id=self.organization_id, now=self.now, sender=self.shared.sender
        )
        self.event_maker = EventMaker(self)

    def now(self) -> datetime:
        return self.clock() + self.clock_offset

    def make_id(self) -> str:
        """A new random UUID, as text."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

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

    @contextmanager
    def _changing(self, record: Record, *, is_told: bool = True) -> Iterator[None]:
        """Around a change of a customer's state: forget what was prepared, and tell of the new state after it."""
        before = self._note_state(record)
        yield
        record.renew_state()
        self.store.touch(record)
        if is_told:
            self.event_maker.tell_state(record, before=before)

    def _note_state(self, record: Record) -> Any:
        """The state before a change, where stale states are to be told; it shares its parts with the record."""
        return record.build_state() if self.webhooks.stale_states else None

    def get_record(self, customer_id: str | uuid.UUID) -> Record:
        """The living record itself; call `store.touch` after changing it."""
        record = self.store.find(str(customer_id))
        if record is None:
            raise KeyError(f"there is no living customer {customer_id}")
        return record


class CatalogueOwner(Foundation):
    """The products, benefits and meters of an organization, and the Python way to look at them and to change them."""

    @property
    def products(self) -> list[dict[str, Any]]:
        """The products as Polar answers them, in the order they were made."""
        return self._copy(self.shelf.products)

    @property
    def benefits(self) -> list[dict[str, Any]]:
        """The benefits as Polar answers them, but for a placeholder where Polar signs a Discord token."""
        return self._copy(self.shelf.benefits)

    @property
    def meters(self) -> list[dict[str, Any]]:
        """The meters as Polar answers them, archived ones too."""
        return self._copy(self.shelf.meters)

    def update_product(self, product_id: Object, **fields: Any) -> dict[str, Any]:
        """Change fields of a product, in all lists, and give it back; an unknown id raises `KeyError`.

        `modified_at` moves unless it is given, as that of benefits and meters does.
        """
        with self.shared.lock:
            product = self._update(self.shelf.products, product_id, fields)
            self.event_maker.tell_object("product.updated", product)
            return product

    def update_benefit(self, benefit_id: Object, **fields: Any) -> dict[str, Any]:
        """Change fields of a benefit, in all lists, and give it back; an unknown id raises `KeyError`.

        States hold the metadata of a benefit in each grant. Nothing but `benefit.updated` tells that these have
        changed: until something else of a customer does, its state is answered as it was, from Polar's cache.
        """
        with self.shared.lock:
            benefit = self._update(self.shelf.benefits, benefit_id, fields)
            if "metadata" in fields:
                for record in self.store:
                    self._renew_grants(record, benefit)
            self.event_maker.tell_object("benefit.updated", benefit)
            return benefit

    def _renew_grants(self, record: Record, benefit: dict[str, Any]) -> None:
        """Have the lists show a benefit's new metadata, and the state stay what it was."""
        grants = record.get_children("granted_benefits")
        changed = [
            {**one, "benefit_metadata": copy.deepcopy(benefit["metadata"])}
            if isinstance(one, dict) and one.get("benefit_id") == benefit["id"]
            else one
            for one in grants
        ]
        if changed != grants:
            record.cached_state_body = record.cached_state_body or record.state_body
            record.set_children("granted_benefits", changed)
            self.store.touch(record)

    def update_meter(self, meter_id: Object, **fields: Any) -> dict[str, Any]:
        """Change fields of a meter, in all lists, and give it back; an unknown id raises `KeyError`."""
        return self._update(self.shelf.meters, meter_id, fields)

    def add_meter(self, meter: dict[str, Any]) -> None:
        """Add a meter as Polar answers it, or replace the one with its `id`."""
        with self.shared.lock:
            self.shelf.meters[meter["id"]] = copy.deepcopy(meter)
            self.store.forget_all()

    def archive_meter(self, meter_id: Object) -> None:
        """Archive a meter: from now on customers' meters are listed without it unless it is named; states keep it."""
        self.update_meter(meter_id, archived_at=format_timestamp(self.now()))

    def add_field(self, kind: Kind, name: str, value: Any, *, where: Where = "both") -> None:
        """Have every object of a kind carry one more field, as when Polar adds one; it wins over one of that name.

        `where` is `states`, `lists` or `both`. In `states` a `customer` is the state itself; in `lists` it is what the
        customer operations answer, and what the other lists nest.
        """
        with self.shared.lock:
            self.store.additions.add(kind, name, copy.deepcopy(value), where=where)
            self.store.forget_all()

    def add_customer_meter(self, customer_id: str | uuid.UUID, meter: dict[str, Any]) -> None:
        """Give a customer one more meter, as a state shows it, in its state (oldest first) and in the list."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            # Polar makes the rows of meters that nothing was counted on without a word.
            is_told = bool(meter.get("consumed_units") or meter.get("credited_units"))
            with self._changing(record, is_told=is_told):
                record.set_children("active_meters", _add_by_age(record.get_children("active_meters"), meter))
                if "meter" in record.listed:
                    record.listed = {
                        **record.listed,
                        "meter": [*record.listed["meter"], (0, copy.deepcopy(meter))],
                    }

    def recount(
        self,
        customer_id: str | uuid.UUID,
        meter: Object,
        *,
        consumed: float | None = None,
        credited: float | None = None,
    ) -> dict[str, Any]:
        """Count a customer's meter anew and give it back as the state shows it; one that was not counted yet is added.

        `meter` is a meter of the catalogue. Units that are not given stay; `modified_at` moves all the same.
        """
        with self.shared.lock:
            record, now, meter_id = self.get_record(customer_id), format_timestamp(self.now()), get_id(meter)
            meters = record.get_children("active_meters")
            old = next((one for one in meters if one["meter_id"] == meter_id), None)
            own = {"id": self.make_id(), "created_at": now, "modified_at": None} if old is None else old
            known = old or {"consumed_units": 0.0, "credited_units": 0}
            units = {
                "consumed_units": known["consumed_units"] if consumed is None else consumed,
                "credited_units": known["credited_units"] if credited is None else credited,
            }
            balance = {"balance": units["credited_units"] - units["consumed_units"]}
            changed = {**own, "modified_at": old and now, "meter_id": meter_id, **units, **balance}
            with self._changing(record):
                record.set_children("active_meters", _add_by_age([one for one in meters if one is not old], changed))
                if "meter" in record.listed:
                    others = [(place, one) for place, one in record.listed["meter"] if one["id"] != changed["id"]]
                    record.listed = {**record.listed, "meter": [*others, (0, changed)]}
            return copy.deepcopy(changed)

    def set_listed(self, customer_id: str | uuid.UUID, kind: RowKind, objects: Iterable[dict[str, Any]]) -> None:
        """Have a list show these objects of a customer, as a state would have them, whatever its state says.

        A lie of the list, of which no event tells.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            record.listed = {**record.listed, kind: [(0, copy.deepcopy(one)) for one in objects]}
            self.store.touch(record)

    def _update(self, objects: Objects, object_id: Object, fields: dict[str, Any]) -> dict[str, Any]:
        with self.shared.lock:
            moved = {"modified_at": format_timestamp(self.now()), **fields}
            updated = self.shelf.update(objects, get_id(object_id), moved)
            self.store.forget_all()
            return updated

    def _copy(self, objects: Objects) -> list[dict[str, Any]]:
        with self.shared.lock:
            return copy.deepcopy(list(objects.values()))


def _add_by_age(meters: list[dict[str, Any]], meter: dict[str, Any]) -> list[dict[str, Any]]:
    """Polar orders the meters of a state, and nothing else in it."""
    return sorted([*meters, copy.deepcopy(meter)], key=lambda one: datetime.fromisoformat(one["created_at"]))
