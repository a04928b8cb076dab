"""What an organization on the fake server stands on, and how its catalogue is changed."""

from __future__ import annotations

import copy
import random
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from polar_sync.testing.additions import Kind, Where
from polar_sync.testing.auth import ORGANIZATION_SCOPES, TokenRegistry
from polar_sync.testing.catalogue import Catalogue
from polar_sync.testing.catalogue_store import Objects, Shelf
from polar_sync.testing.customers import UNSET, CustomerStore, Record, RowKind
from polar_sync.testing.http import format_timestamp


def get_utc_now() -> datetime:
    """The real time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Shared:
    """What the organizations of one server have in common."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    tokens: TokenRegistry = field(default_factory=TokenRegistry)


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
        self.organization_id = str(organization_id or self.make_id())
        self.catalogue = Catalogue.generate(self._rng)
        self.shelf = Shelf(self.catalogue, organization_id=self.organization_id)
        self.store = CustomerStore()
        self.access_token = self.create_token()

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

    def update_product(self, product_id: str | uuid.UUID, **fields: Any) -> dict[str, Any]:
        """Change fields of a product, in all lists, and give it back; an unknown id raises `KeyError`."""
        return self._update(self.shelf.products, product_id, fields)

    def update_benefit(self, benefit_id: str | uuid.UUID, **fields: Any) -> dict[str, Any]:
        """Change fields of a benefit, in all lists, and give it back; an unknown id raises `KeyError`.

        States hold the type and the metadata of a benefit in each grant and keep them, as Polar's cached states do;
        the grants of a list follow their state in these two.
        """
        return self._update(self.shelf.benefits, benefit_id, fields)

    def update_meter(self, meter_id: str | uuid.UUID, **fields: Any) -> dict[str, Any]:
        """Change fields of a meter, in all lists, and give it back; an unknown id raises `KeyError`."""
        return self._update(self.shelf.meters, meter_id, fields)

    def add_meter(self, meter: dict[str, Any]) -> None:
        """Add a meter as Polar answers it, or replace the one with its `id`."""
        with self.shared.lock:
            self.shelf.meters[meter["id"]] = copy.deepcopy(meter)
            self.store.forget_all()

    def archive_meter(self, meter_id: str | uuid.UUID) -> None:
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
            if record.state is UNSET:
                record.children["active_meters"] = _add_by_age(record.children["active_meters"], meter)
            else:
                meters = _add_by_age(record.state["active_meters"], meter)
                record.state = {**record.state, "active_meters": meters}
            if "meter" in record.listed:
                record.listed["meter"] = [*record.listed["meter"], (0, copy.deepcopy(meter))]
            self.store.touch(record)

    def set_listed(self, customer_id: str | uuid.UUID, kind: RowKind, objects: Iterable[dict[str, Any]]) -> None:
        """Have a list show these objects of a customer, as a state would have them, whatever its state says."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            record.listed = {**record.listed, kind: [(0, copy.deepcopy(one)) for one in objects]}
            self.store.touch(record)

    def set_other_subscriptions(self, customer_id: str | uuid.UUID, subscriptions: Iterable[dict[str, Any]]) -> None:
        """What the list of subscriptions has of a customer and the state has not, such as past due ones."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            record.other_subscriptions = copy.deepcopy(list(subscriptions))
            self.store.touch(record)

    def set_other_grants(self, customer_id: str | uuid.UUID, grants: Iterable[dict[str, Any]]) -> None:
        """What the list of grants has of a customer and the state has not: revoked ones."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            record.other_grants = copy.deepcopy(list(grants))
            self.store.touch(record)

    def _update(self, objects: Objects, object_id: str | uuid.UUID, fields: dict[str, Any]) -> dict[str, Any]:
        with self.shared.lock:
            updated = self.shelf.update(objects, str(object_id), fields)
            self.store.forget_all()
            return updated

    def _copy(self, objects: Objects) -> list[dict[str, Any]]:
        with self.shared.lock:
            return copy.deepcopy(list(objects.values()))


def _add_by_age(meters: list[dict[str, Any]], meter: dict[str, Any]) -> list[dict[str, Any]]:
    """Polar orders the meters of a state, and nothing else in it."""
    return sorted([*meters, copy.deepcopy(meter)], key=lambda one: datetime.fromisoformat(one["created_at"]))
