"""Lists read for some customers under the rules that a run has learned, once and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from polar_sync.client import PolarClient
from polar_sync.states.assembly import Parts
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.inquiry import Densities, Inquiry, Mirrored
from polar_sync.states.knowledge import Knowledge
from polar_sync.states.requests import build_calls, build_unfiltered_calls
from polar_sync.states.source import wait_for


@dataclass(slots=True)
class ListReader:
    """Asks Polar's lists about customers; errors that end all asking are raised by the second readings."""

    client: PolarClient
    executor: Executor
    densities: Densities
    knowledge: Knowledge
    catalogue: Catalogue = field(default_factory=Catalogue)
    mirrored: Mirrored = field(default_factory=Mirrored)

    def inquire(self, parts: dict[UUID, Parts]) -> Inquiry:
        """The requests that complete these parts, not sent yet."""
        knowledge = self.knowledge
        archived = knowledge.archived or frozenset()
        is_decided = knowledge.is_active_decisive
        return Inquiry(
            self.client,
            self.executor,
            build_calls(self.client, is_active_decisive=is_decided, archived=archived),
            parts=parts,
            densities=self.densities,
            fields=knowledge.fields,
            catalogue=self.catalogue,
            mirrored=self.mirrored,
            archived=archived,
            is_decided=is_decided,
        )

    def read(self, ids: Iterable[UUID], *, on_tick: Callable[[], None]) -> dict[UUID, Parts]:
        """What the lists hold of these customers now; without those of whom they cannot tell."""
        return _finish(self.inquire({key: Parts() for key in ids}), on_tick)

    def read_unfiltered(
        self, ids: Iterable[UUID], *, meters: Collection[str], on_tick: Callable[[], None]
    ) -> dict[UUID, Parts]:
        """Their subscriptions and grants whatever has become of them, and these meters of theirs, named."""
        inquiry = Inquiry(
            self.client,
            self.executor,
            build_unfiltered_calls(self.client, meters),
            parts={key: Parts() for key in ids},
            densities=Densities(),  # what ended counts here and in no other answer
            fields=StateFields(),
            catalogue=self.catalogue,
            mirrored=Mirrored(),
            is_decided=True,
        )
        return _finish(inquiry, on_tick)

    def read_customer(self, customer_id: UUID, *, on_tick: Callable[[], None]) -> Mapping[str, Any]:
        """The customer's own fields now."""
        return wait_for(self.executor.submit(self.client.customers.get, str(customer_id)), on_tick=on_tick)


def _finish(inquiry: Inquiry, on_tick: Callable[[], None]) -> dict[UUID, Parts]:
    inquiry.run(on_tick)
    if inquiry.obstacle is not None:
        raise inquiry.obstacle
    complete = inquiry.get_complete()
    return {key: parts for key, parts in inquiry.parts.items() if key in complete}
