"""What an organization on the fake server stands on: its clock, ids, tokens and stores."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from polar_sync.testing.auth import ORGANIZATION_SCOPES, TokenRegistry
from polar_sync.testing.catalogue import Catalogue
from polar_sync.testing.shelf import Shelf
from polar_sync.testing.store import CustomerStore, Record


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
        """This server's time."""
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
