"""What lists show beside their items: the products, benefits and meters that a state only names by id."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from polar_sync.payloads.kinds import BENEFIT_GRANT, METER, SUBSCRIPTION
from polar_sync.payloads.values import read_timestamp

Key = tuple[str, str]
Entry = Mapping[str, Any]

MODELS = ("product", "benefit", "meterdefinition")
_PRODUCT, _BENEFIT, _METER = MODELS


class Catalogue:
    """Collects them, each once a run, whatever thread finds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run_id: int | None = None
        self._found: dict[Key, Entry] = {}
        self._kept: dict[Key, Entry] = {}
        self.unread = set(MODELS)
        """Whose own lists this run has not read yet."""

    def keep_for(self, run_id: int) -> Catalogue:
        """Forget what is known to be kept where that was in another run. Returns itself."""
        with self._lock:
            if run_id != self._run_id:
                self._run_id, self._kept, self.unread = run_id, {}, set(MODELS)
        return self

    def add(self, kind: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Take in what these list items of a kind show."""
        if kind == SUBSCRIPTION.name:
            self._add(_iterate_products(items))
        elif kind == BENEFIT_GRANT.name:
            self._add((_BENEFIT, item.get("benefit")) for item in items)
        elif kind == METER.name:
            self._add((_METER, item.get("meter")) for item in items)

    def add_entries(self, model: str, entries: Iterable[Any]) -> None:
        """Take in the items of a catalogue's own list."""
        self._add((model, entry) for entry in entries)

    def get_benefit_times(self) -> dict[str, datetime]:
        """When the benefits that were found in this run were last modified, by id."""
        with self._lock:
            entries = {key: entry for (model, key), entry in (self._kept | self._found).items() if model == _BENEFIT}
        times = {key: read_timestamp(entry.get("modified_at")) for key, entry in entries.items()}
        return {key: time for key, time in times.items() if time is not None}

    def get_news(self) -> dict[Key, Entry]:
        """What was found and is not known to be kept, by model name and id."""
        with self._lock:
            return dict(self._found)

    def confirm(self, found: Mapping[Key, Entry]) -> None:
        """These are kept: they need not be written again in this run unless they are shown otherwise."""
        with self._lock:
            self._kept |= found
            self._found = {key: entry for key, entry in self._found.items() if found.get(key) is not entry}

    def _add(self, entries: Iterable[tuple[str, Any]]) -> None:
        shown = {
            (model, entry["id"]): entry
            for model, entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        }
        with self._lock:
            self._found |= {key: entry for key, entry in shown.items() if self._kept.get(key) != entry}


def _iterate_products(subscriptions: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for item in subscriptions:
        yield _PRODUCT, item.get("product")
        meters = item.get("meters")
        for meter in meters if isinstance(meters, list) else ():
            yield _METER, meter.get("meter") if isinstance(meter, dict) else None
