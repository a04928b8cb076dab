"""What a run asks once of the whole organization, to know which rules Polar's lists follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future

from polar_sync.client import ListPage, PolarClient
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.payloads.values import read_uuid
from polar_sync.states.knowledge import ACTIVE, BY_STATUS, Knowledge
from polar_sync.states.source import is_hopeless, wait_for

logger = logging.getLogger(__name__)

PRESENT = ("active", "trialing")
"""Statuses of the subscriptions that a state holds, as far as this package knows."""
_MAX_PAGES = 100


def read_rules(
    knowledge: Knowledge,
    client: PolarClient,
    executor: Executor,
    *,
    organization_id: str | None,
    mirrored_archived: Callable[[], Collection[str]],
    on_tick: Callable[[], None],
) -> PolarSyncError | None:
    """Ask for what is not known yet; returns what was in the way, to be tried again.

    What a token may not read stays as the mirror knows it: `mirrored_archived` gives the ids of archived meters.
    """
    reader = _Reader(client, organization_id)
    futures: dict[str, Future[int | frozenset[str]]] = {
        way: executor.submit(reader.count, way) for way in (ACTIVE, BY_STATUS) if way not in knowledge.totals
    }
    if knowledge.archived is None:
        futures[_ARCHIVED] = executor.submit(reader.read_archived)
    obstacle: PolarSyncError | None = None
    for name, future in futures.items():
        try:
            value = wait_for(future, on_tick=on_tick)
        except PolarSyncError as error:
            if _is_to_be_tried_again(name, error):
                obstacle = obstacle if obstacle is not None and is_hopeless(obstacle) else error
            elif name == _ARCHIVED:
                logger.warning("Archived meters are those that the mirror knows of: %s", error)
                knowledge.archived = frozenset(mirrored_archived())
            else:
                knowledge.totals[name] = None
        else:
            if isinstance(value, int):
                knowledge.totals[name] = value
            else:
                knowledge.archived = value
    return obstacle


_ARCHIVED = "archived"


def _is_to_be_tried_again(name: str, error: PolarSyncError) -> bool:
    if isinstance(error, MissingScopeError):
        return name != _ARCHIVED  # without the scope for subscriptions there are no states from lists
    return is_hopeless(error) or not error.permanent


class _Reader:
    def __init__(self, client: PolarClient, organization_id: str | None) -> None:
        self._client = client
        self._organization_id = organization_id

    def count(self, way: str) -> int:
        """The organization's subscriptions that are in states, by Polar's rule or by the statuses known here."""
        rule = {"active": True} if way == ACTIVE else {"status": PRESENT}
        page = self._client.subscriptions.list(organization_id=self._organization_id, limit=1, **rule)
        return page.total_count

    def read_archived(self) -> frozenset[str]:
        """The ids of all archived meters."""
        found: set[str] = set()
        for number in range(1, _MAX_PAGES + 1):
            page = self._client.meters.list(organization_id=self._organization_id, is_archived=True, page=number)
            found |= _get_ids(page)
            if number >= page.max_page:
                break
        return frozenset(found)


def _get_ids(page: ListPage) -> set[str]:
    ids = (item.get("id") for item in page.items if isinstance(item, dict))
    return {each for each in ids if isinstance(each, str) and read_uuid(each) is not None}
