"""What lists show beside their items: the products, benefits and meters that a state only names by id."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

_PRODUCT, _BENEFIT, _METER = "product", "benefit", "meterdefinition"


class Catalogue:
    """Collects them, each once, whatever thread finds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, kind: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Take in what these items of the list `kind` show."""
        for item in items:
            if kind == "subscriptions":
                self._add_one(_PRODUCT, item.get("product"))
                meters = item.get("meters")
                for meter in meters if isinstance(meters, list) else ():
                    self._add_one(_METER, meter.get("meter") if isinstance(meter, dict) else None)
            elif kind == "grants":
                self._add_one(_BENEFIT, item.get("benefit"))
            else:
                self._add_one(_METER, item.get("meter"))

    def add_entries(self, model: str, entries: Iterable[Any]) -> None:
        """Take in the items of a catalogue's own list."""
        for entry in entries:
            self._add_one(model, entry)

    def take(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What was found since this was last asked, by model name and id."""
        with self._lock:
            found, self._found = self._found, {}
        return found

    def _add_one(self, model: str, entry: Any) -> None:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            with self._lock:
                self._found[model, entry["id"]] = entry
