"""What arrived for pages that had to be given back before all was known of their customers.

With a small request budget no single claim of a page may be let through often enough for all that a batch takes. If
each began anew, none would ever get to the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from uuid import UUID

from polar_sync.client import ListPage
from polar_sync.states.assembly import Parts

MAX_CUSTOMERS = 1_000
MAX_AGE_SECONDS = 3600.0
"""Polar itself answers with states that it cached up to an hour ago."""
MAX_LISTINGS = 10
MAX_LISTING_AGE_SECONDS = 600.0


class Leftovers:
    """Kept for one run at a time, as long as the client; whoever takes parts is the only one to have them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run_id: int | None = None
        self._parts: dict[UUID, Parts] = {}
        self._listings: dict[int, tuple[float, ListPage]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def keep_for(self, run_id: int) -> Leftovers:
        """Forget what is of another run: its customers are to be asked again. Returns itself."""
        with self._lock:
            if run_id != self._run_id:
                self._run_id, self._parts, self._listings = run_id, {}, {}
        return self

    def take(self, ids: Iterable[UUID]) -> dict[UUID, Parts]:
        """The parts of these customers, new ones where none are kept or they are too old."""
        oldest = time.monotonic() - MAX_AGE_SECONDS
        with self._lock:
            kept = {key: self._parts.pop(key, None) for key in ids}
        return {key: Parts() if parts is None or parts.began < oldest else parts for key, parts in kept.items()}

    def put(self, parts: Mapping[UUID, Parts]) -> None:
        """Keep these; beyond `MAX_CUSTOMERS` those that were kept first are forgotten."""
        with self._lock:
            self._parts |= parts
            for key in list(self._parts)[: max(0, len(self._parts) - MAX_CUSTOMERS)]:
                del self._parts[key]

    def put_listing(self, page_id: int, answer: ListPage) -> None:
        """Keep what Polar listed for a page; beyond `MAX_LISTINGS` what was kept first is forgotten."""
        with self._lock:
            self._listings[page_id] = (time.monotonic(), answer)
            for key in list(self._listings)[: max(0, len(self._listings) - MAX_LISTINGS)]:
                del self._listings[key]

    def take_listing(self, page_id: int) -> ListPage | None:
        """What was kept for a page, unless it is too old."""
        with self._lock:
            kept_at, answer = self._listings.pop(page_id, (0.0, None))
        return answer if time.monotonic() - kept_at < MAX_LISTING_AGE_SECONDS else None
