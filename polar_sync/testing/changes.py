"""Changing the catalogue of a fake organization, what its objects carry, and what no state of a customer shows."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from polar_sync.testing.additions import Kind, Where
from polar_sync.testing.foundation import Foundation
from polar_sync.testing.shelf import Objects
from polar_sync.testing.store import UNSET, RowKind
from polar_sync.testing.wire import format_timestamp


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
