"""The states of a claim's customers: fetched, and committed page by page as they arrive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError, router, transaction
from django.db.models import F
from django.db.models.functions import Now

from polar_sync.models import SyncContradiction, SyncFailure, SyncPage, SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.payloads.values import clean_text
from polar_sync.states import stops_fetching
from polar_sync.store import ApplyResult, Found, Outcome, apply, apply_catalogue
from polar_sync.sync.completeness import count_pages
from polar_sync.sync.connections import Connection
from polar_sync.sync.leases import LeaseKeeper, LeaseLostError, finish_page, save_page
from polar_sync.sync.page_results import (
    MAX_CLAIMS,
    PageResult,
    fetch_states,
    find_stopping_error,
    give_up,
    note_unresolved,
    resolve_missing,
)
from polar_sync.sync.resolution import MAX_ROUNDS
from polar_sync.sync.runs import open_following_pages, open_page
from polar_sync.sync.sources import (
    get_knowledge,
    is_batched,
    must_fall_back,
    note_knowledge,
    open_source,
    read_catalogue,
)

_SAME = (Outcome.UNCHANGED, Outcome.STALE)
_SAVE_SECONDS = 10.0


def commit_page(run: SyncRun, page: SyncPage, page_result: PageResult, *, catalogue: Found | None = None) -> int:
    """Write what arrived; the page is done if all of it did. Returns how many further pages that opened.

    Raises `LeaseLostError`, with nothing written, where the page is no longer ours.
    """
    with transaction.atomic(using=router.db_for_write(SyncRun)):
        result = _apply(run, page, page_result)
        if result.unresolved:
            note_unresolved(page_result, result.unresolved, changed={change.customer_id for change in result.changes})
        # Before the run's row is locked, in all workers alike: they share the rows of the catalogue.
        if catalogue:
            apply_catalogue(catalogue, organization=run.organization)
        _record_contradictions(run, page, page_result)
        failed = _record_failures(run, page, page_result.failures)
        outcomes = _count_outcomes(run, result, page_result)
        outcomes["failed"] = len(failed.new_in_run)
        counts = _count_seen(run, page, page_result, result)
        counts["seen"] += len(failed.new_in_pass - _get_mirrored(result))
        counts["seen_first"] += len(failed.new_in_run - _get_mirrored(result))
        _save(
            page, page_result, counts
        )  # first, as it tells whether the page is ours: a late worker opens none after it
        opened = _open_pages(run, page, page_result)
        _add_to_run(run, outcomes)
    return opened


def _apply(run: SyncRun, page: SyncPage, page_result: PageResult) -> ApplyResult:
    arrived = page_result.get_arrived()
    if not arrived:  # an empty listing does not tell which organization it is of
        return ApplyResult({}, (), {})
    return apply(arrived, organization=run.organization, run_id=run.pk, pass_number=page.pass_number)


def _record_contradictions(run: SyncRun, page: SyncPage, page_result: PageResult) -> None:
    """In the order of ids: pages of two workers may list the same customers. Before the run's row is locked."""
    SyncContradiction.objects.bulk_create(
        [
            SyncContradiction(
                run=run, customer_id=key, created_at=page_result.get_created_at(key), pass_number=page.pass_number
            )
            for key in sorted(page_result.denied)
        ],
        update_conflicts=True,
        unique_fields=["run", "customer_id"],
        update_fields=["pass_number"],
    )


class _Failed(NamedTuple):
    """Which of a page's failures are new to the run, and which to its pass."""

    new_in_run: set[str]
    new_in_pass: set[str]


def _record_failures(run: SyncRun, page: SyncPage, failures: Mapping[str, str]) -> _Failed:
    if not failures:
        return _Failed(set(), set())
    # One page at a time: two that list the same customer must not both take its failure for new.
    # Without its key, which those refer to who record a contradiction and then wait here.
    SyncRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    rows = SyncFailure.objects.filter(run=run, customer_id__in=failures)
    known = dict(rows.values_list("customer_id", "pass_number"))
    new_in_run = failures.keys() - known.keys()
    SyncFailure.objects.bulk_create(
        SyncFailure(run=run, customer_id=key, reason=clean_text(failures[key]), pass_number=page.pass_number)
        for key in sorted(new_in_run)
    )
    new_in_pass = {key for key in failures if known.get(key) != page.pass_number}
    rows.update(pass_number=page.pass_number)
    return _Failed(new_in_run, new_in_pass)


def _get_mirrored(result: ApplyResult) -> set[str]:
    return {str(key) for key in result.outcomes}


def _count_outcomes(run: SyncRun, result: ApplyResult, page_result: PageResult) -> Counter[str]:
    """Each customer once a run, and one that failed not also as what became of its fields."""
    return Counter(
        (Outcome.UPDATED if outcome in _SAME and key in page_result.changed else outcome).value
        for key, outcome in result.outcomes.items()
        if result.records[key].seen_by_run != run.pk and str(key) not in page_result.failures
    )


def _count_seen(run: SyncRun, page: SyncPage, page_result: PageResult, result: ApplyResult) -> Counter[str]:
    """Distinct customers of the pass that this page is the first to see, and what they say about its completeness."""
    counts: Counter[str] = Counter()
    for key, before in result.records.items():
        if before.seen_by_run == run.pk and before.seen_in_pass == page.pass_number:
            continue
        created_at = page_result.get_created_at(key)
        counts["seen"] += 1
        counts["seen_newer"] += is_later(created_at, run.pass_began_at)
        if before.seen_by_run != run.pk:
            counts["seen_first"] += 1
            counts["seen_first_newer"] += is_later(created_at, run.began_at)
    return counts


def is_later(time: datetime | None, other: datetime | None) -> bool:
    """Whether both are known, and this one is the later."""
    return time is not None and other is not None and time > other


def _open_pages(run: SyncRun, page: SyncPage, page_result: PageResult) -> int:
    """Page 1 opens all that its answer tells of; a later answer those by which the list has grown since.

    In a walk backwards each window opens the next, once all of it is accounted for.
    """
    if page_result.answer is None or page.kind != SyncPage.Kind.LIST:
        return 0
    if page.pass_number > 1:
        if page.number > 1 and page_result.is_complete:
            open_page(run, number=page.number - 1)
            return 1
        return 0
    last = count_pages(page_result.answer)
    if page.number > 1 and last <= _get_last_number(run, page):
        return 0
    return open_following_pages(run, max_page=last)


def _get_last_number(run: SyncRun, page: SyncPage) -> int:
    pages = SyncPage.objects.filter(run=run, kind=page.kind, pass_number=page.pass_number)
    return pages.order_by("-number").values_list("number", flat=True)[0]


def _save(page: SyncPage, page_result: PageResult, counts: Counter[str]) -> None:
    fields: dict[str, Any] = {name: F(name) + number for name, number in counts.items()}
    if page_result.answer is not None:
        fields |= {
            "total_count": page_result.answer.total_count,
            "max_page": page_result.answer.max_page,
            "listed_at": page_result.answer.as_of,
            "customer_ids": page_result.ends if page.pass_number > 1 else [],
        }
    if page_result.is_complete:
        finish_page(page, **fields)
    elif fields:
        save_page(page, **fields)


def _add_to_run(run: SyncRun, outcomes: Counter[str]) -> None:
    hit = SyncRun.objects.filter(pk=run.pk, status=SyncRun.Status.RUNNING).update(
        heartbeat_at=Now(),
        waiting_until=None,
        **{name: F(name) + outcomes[name] for name in OUTCOMES},
    )
    if not hit:
        raise LeaseLostError


def fetch_and_commit(
    run: SyncRun, page_results: Sequence[PageResult], connection: Connection, keeper: LeaseKeeper
) -> int:
    """Get the states and commit them, now and then what there is so far; returns how many pages that opened.

    At ten requests a minute a page takes ten minutes; neither Ctrl-C nor a killed process loses all of it. A page each
    transaction: its customers stay locked until it ends.
    """
    pending = [each for each in page_results if each.is_listed]
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


def _resolve_and_commit(run: SyncRun, pending: list[PageResult], connection: Connection, keeper: LeaseKeeper) -> int:
    """Have the lists decide about customers of whom times left open what they have, and commit that."""
    opened = 0
    for _ in range(MAX_ROUNDS):
        if not any(each.unresolved for each in pending) or stops_fetching(find_stopping_error(pending)):
            return opened
        for _ in resolve_missing(pending, connection, knowledge=get_knowledge(run), on_tick=keeper.tick):
            pass
        opened += _commit(run, pending, connection, keeper)
    give_up(pending)
    return opened + _commit(run, pending, connection, keeper)


def fetch_missing(
    run: SyncRun, page_results: Sequence[PageResult], connection: Connection, *, on_tick: Callable[[], None]
) -> Iterator[None]:
    """Get the states of a claim's customers from the source that the run has, one with each step of the iterator.

    From the next source where that turns out to be closed to the token.
    """
    if not page_results:
        return
    first = page_results[0].page
    if first.kind == SyncPage.Kind.CONFIRM:
        is_final = not connection.has_lists
        yield from fetch_states(page_results, connection.confirming, on_tick=on_tick, is_final=is_final)
        return
    source = open_source(run, connection, _get_missing(page_results))
    if first.claims >= MAX_CLAIMS:  # what one customer breaks in a list must not become the failure of a hundred
        source = connection.per_customer
    yield from fetch_states(page_results, source, on_tick=on_tick, is_final=not connection.has_lists)
    if must_fall_back(run, find_stopping_error(page_results)):
        for each in page_results:
            each.stopping_error = None
        connection.has_lists = False
        source = open_source(run, connection, _get_missing(page_results))
        yield from fetch_states(page_results, source, on_tick=on_tick, is_final=True)
    note_knowledge(run, source)


def _is_beginning(page: SyncPage) -> bool:
    return page.kind == SyncPage.Kind.LIST and page.number == page.pass_number == 1


def _get_missing(page_results: Sequence[PageResult]) -> set[UUID]:
    return {key for each in page_results for key in each.missing}


def _commit(run: SyncRun, pending: list[PageResult], connection: Connection, keeper: LeaseKeeper) -> int:
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
