"""The states of a claim's customers: fetched, and committed page by page as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from uuid import UUID

from django.db import DatabaseError

from polar_sync.models import SyncPage, SyncRun
from polar_sync.states import is_hopeless
from polar_sync.sync.catalogue import read_catalogue
from polar_sync.sync.commits import commit_page
from polar_sync.sync.connections import Connection
from polar_sync.sync.gathering import MAX_CLAIMS, Gathered, fetch_states, find_obstacle, give_up, resolve_missing
from polar_sync.sync.leases import LeaseKeeper, LeaseLostError
from polar_sync.sync.resolution import MAX_ROUNDS
from polar_sync.sync.sources import get_knowledge, is_batched, must_fall_back, note_knowledge, open_source

_SAVE_SECONDS = 10.0


def fetch_and_commit(run: SyncRun, gathered: Sequence[Gathered], connection: Connection, keeper: LeaseKeeper) -> int:
    """Get the states and commit them, now and then what there is so far; returns how many pages that opened.

    At ten requests a minute a page takes ten minutes; neither Ctrl-C nor a killed process loses all of it. A page each
    transaction: its customers stay locked until it ends.
    """
    pending = [each for each in gathered if each.is_listed]
    opened, saved_at = 0, time.monotonic()
    try:
        if pending and _is_beginning(pending[0].page) and not is_batched(run):
            read_catalogue(connection, on_tick=keeper.tick)
        for _ in fetch_missing(run, tuple(pending), connection, on_tick=keeper.tick):
            if time.monotonic() - saved_at >= _SAVE_SECONDS:
                opened += _commit(run, pending, connection, keeper)
                saved_at = time.monotonic()
    except LeaseLostError:
        raise
    except BaseException:
        with suppress(LeaseLostError, DatabaseError):  # what interrupted the work is what the caller is to hear of
            _commit(run, pending, connection, keeper)
        raise
    opened += _commit(run, pending, connection, keeper)
    return opened + _resolve_and_commit(run, pending, connection, keeper)


def _resolve_and_commit(run: SyncRun, pending: list[Gathered], connection: Connection, keeper: LeaseKeeper) -> int:
    """Have the lists decide about customers of whom times left open what they have, and commit that."""
    opened = 0
    for _ in range(MAX_ROUNDS):
        if not any(each.unresolved for each in pending) or is_hopeless(find_obstacle(pending)):
            return opened
        for _ in resolve_missing(pending, connection, knowledge=get_knowledge(run), on_tick=keeper.tick):
            pass
        opened += _commit(run, pending, connection, keeper)
    give_up(pending)
    return opened + _commit(run, pending, connection, keeper)


def fetch_missing(
    run: SyncRun, gathered: Sequence[Gathered], connection: Connection, *, on_tick: Callable[[], None]
) -> Iterator[None]:
    """Get the states of a claim's customers from the source that the run has, one with each step of the iterator.

    From the next source where that turns out to be closed to the token.
    """
    if not gathered:
        return
    first = gathered[0].page
    if first.kind == SyncPage.Kind.CONFIRM:
        is_final = not connection.has_lists
        yield from fetch_states(gathered, connection.confirming, on_tick=on_tick, is_final=is_final)
        return
    source = open_source(run, connection, _get_missing(gathered))
    if first.claims >= MAX_CLAIMS:  # what one customer breaks in a list must not become the failure of a hundred
        source = connection.per_customer
    yield from fetch_states(gathered, source, on_tick=on_tick, is_final=not connection.has_lists)
    if must_fall_back(run, find_obstacle(gathered)):
        for each in gathered:
            each.obstacle = None
        connection.has_lists = False
        source = open_source(run, connection, _get_missing(gathered))
        yield from fetch_states(gathered, source, on_tick=on_tick, is_final=True)
    note_knowledge(run, source)


def _is_beginning(page: SyncPage) -> bool:
    return page.kind == SyncPage.Kind.LIST and page.number == page.pass_number == 1


def _get_missing(gathered: Sequence[Gathered]) -> set[UUID]:
    return {key for each in gathered for key in each.missing}


def _commit(run: SyncRun, pending: list[Gathered], connection: Connection, keeper: LeaseKeeper) -> int:
    """Write what arrived of each page; one that was lost is left to whoever took it.

    Raises `LeaseLostError` where none was still ours, as when the run has ended.
    """
    opened, lost = 0, 0
    todo = list(pending)
    for each in todo:
        found = connection.catalogue.get_news()
        try:
            opened += commit_page(run, each.page, each, catalogue=found)
        except LeaseLostError:
            lost_or_done = True
            lost += 1
        else:
            connection.catalogue.confirm(found)
            each.drop_arrived()
            lost_or_done = each.is_complete
        if lost_or_done:
            keeper.drop(each.page)
            pending.remove(each)
        keeper.tick()
    if lost and lost == len(todo):
        raise LeaseLostError
    return opened
