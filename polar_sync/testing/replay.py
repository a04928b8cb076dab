"""An organization from recorded traffic."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polar_sync.testing.customers import RowKind
from polar_sync.testing.organization import FakeOrganization

STATE_PATH = re.compile(r"/v1/customers/([^/]+)/state")
LIST_PATHS: dict[str, RowKind] = {
    "/v1/subscriptions/": "subscription",
    "/v1/benefit-grants/": "grant",
    "/v1/customer-meters/": "meter",
}


@dataclass(slots=True)
class Recording:
    """Customers in the order they were listed, oldest first, and their states by id."""

    customers: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    exported: str = ""
    listed: dict[RowKind, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def organization_id(self) -> str:
        """The organization that the customers name."""
        return str(self.customers[0]["organization_id"])

    def fill(self, organization: FakeOrganization) -> None:
        """Put everything recorded into an empty organization.

        A customer whose state was not recorded has an empty one. The lists that were recorded have the recorded items,
        those that were not are made from the states; the catalogue is what recorded items nest.
        """
        exported = {line.partition(",")[0]: number for number, line in enumerate(self.exported.splitlines())}
        with organization.shared.lock:
            for customer in self.customers:
                record = organization.store.put(customer, now=organization.now())
                if customer["id"] in self.states:
                    organization.replace_state(record.key, self.states[customer["id"]])
                # The export keeps an order of its own; the list is sorted, with ties as they were listed.
                record.sequence = exported.get(record.key, record.sequence)
                record.listed = {kind: [] for kind in self.listed}
            self._fill_lists(organization)
            self._fill_shelf(organization)
            organization.store.forget_all()

    def _fill_lists(self, organization: FakeOrganization) -> None:
        for kind, items in self.listed.items():
            once = {item["id"]: item for item in items}
            # The place in the recording is the order of rows with equal sort keys, as they were listed.
            for sequence, item in enumerate(once.values(), start=1):
                record = organization.store.find(item["customer_id"])
                if record is not None:
                    record.listed[kind].append((sequence, item))

    def _fill_shelf(self, organization: FakeOrganization) -> None:
        if not self.listed:
            return
        subscriptions = self.listed.get("subscription", [])
        meters = [one["meter"] for one in self.listed.get("meter", [])]
        meters += [one["meter"] for subscription in subscriptions for one in subscription["meters"]]
        organization.shelf.replace(
            products=copy.deepcopy([one["product"] for one in subscriptions]),
            benefits=copy.deepcopy([one["benefit"] for one in self.listed.get("grant", [])]),
            meters=copy.deepcopy(meters),
        )


def replay_recording(path: Path) -> Recording:
    """Read a gzipped file of exchanges, one JSON object a line: `method`, `path`, `query`, `status`, `body`.

    The list pages have to be there, sorted by `created_at`; the three lists by customer may be. Raises `ValueError`
    where no customer was listed.
    """
    recording = Recording()
    for exchange in read_exchanges(path):
        state = STATE_PATH.fullmatch(exchange["path"])
        if exchange["path"] == "/v1/customers/":
            recording.customers += exchange["body"]["items"]
        elif exchange["path"] == "/v1/customers/export":
            recording.exported = exchange["body"]
        elif state is not None:
            recording.states[state[1]] = exchange["body"]
        elif exchange["path"] in LIST_PATHS:
            recording.listed.setdefault(LIST_PATHS[exchange["path"]], []).extend(exchange["body"]["items"])
    if not recording.customers:
        raise ValueError(f"{path} holds no page of GET /v1/customers/ with a customer on it")
    return recording


def read_exchanges(path: Path) -> Iterator[dict[str, Any]]:
    """The successful GETs of a recording, in its order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            exchange: dict[str, Any] = json.loads(line)
            if exchange["method"] == "GET" and exchange["status"] == 200:  # noqa: PLR2004  OK
                yield exchange
