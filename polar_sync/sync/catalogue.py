"""The names of products, benefits and meters for a run whose states only name ids."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from polar_sync.client import ListPage
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.states import wait_for
from polar_sync.sync.connections import Connection

logger = logging.getLogger(__name__)

_MAX_PAGES = 100
"""Ten thousand products; an organization with more gets their names beside its subscriptions."""


def read_catalogue(connection: Connection, *, on_tick: Callable[[], None]) -> None:
    """Read the three catalogues, each as far as the token may. Names are a courtesy: no failure here ends a run."""
    client = connection.client
    lists: dict[str, Callable[..., ListPage]] = {
        "product": client.products.list,
        "benefit": client.benefits.list,
        "meterdefinition": client.meters.list,
    }
    futures = {
        model: connection.executor.submit(_read_all, list_page, connection.organization_id)
        for model, list_page in lists.items()
        if model in connection.catalogue.unread
    }
    for model, future in futures.items():
        try:
            entries = wait_for(future, on_tick=on_tick)
        except MissingScopeError as error:
            logger.warning("No names of any %s: the token lacks %s", model, " or ".join(error.scopes) or "a scope")
        except PolarSyncError as error:
            logger.warning("No names of any %s for now: %s", model, error)
            if not error.permanent:  # the next claim of the page asks again
                continue
        else:
            connection.catalogue.add_entries(model, entries)
        connection.catalogue.unread.discard(model)


def _read_all(list_page: Callable[..., ListPage], organization_id: str | None) -> list[Any]:
    entries: list[Any] = []
    for number in range(1, _MAX_PAGES + 1):
        page = list_page(organization_id=organization_id, page=number)
        entries += page.items
        if number >= page.max_page:
            break
    return entries
