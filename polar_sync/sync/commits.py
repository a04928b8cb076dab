"""What was gathered for a page, written with its counts in one transaction that only the lease's holder can end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import router, transaction
from django.db.models import F
from django.db.models.functions import Now

from polar_sync.models import SyncContradiction, SyncFailure, SyncPage, SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.payloads.values import clean_text
from polar_sync.store import ApplyResult, Found, Outcome, apply, apply_catalogue
from polar_sync.sync.gathering import Gathered, note_unresolved
from polar_sync.sync.leases import LeaseLostError, finish_page, save_page
from polar_sync.sync.runs import open_following_pages, open_page
from polar_sync.sync.windows import count_pages

_SAME = (Outcome.UNCHANGED, Outcome.STALE)


def commit_page(run: SyncRun, page: SyncPage, gathered: Gathered, *, catalogue: Found | None = None) -> int:
    """Write what arrived; the page is done if all of it did. Returns how many further pages that opened.

    Raises `LeaseLostError`, with nothing written, where the page is no longer ours.
    """
    with transaction.atomic(using=router.db_for_write(SyncRun)):
        result = _apply(run, page, gathered)
        if result.unresolved:
            note_unresolved(gathered, result.unresolved, changed={change.customer_id for change in result.changes})
        # Before the run's row is locked, in all workers alike: they share the rows of the catalogue.
        if catalogue:
            apply_catalogue(catalogue, organization=run.organization)
        _record_contradictions(run, page, gathered)
        failed = _record_failures(run, page, gathered.failures)
        outcomes = _count_outcomes(run, result, gathered)
        outcomes["failed"] = len(failed.new_in_run)
        counts = _count_seen(run, page, gathered, result)
        counts["seen"] += len(failed.new_in_pass - _get_mirrored(result))
        counts["seen_first"] += len(failed.new_in_run - _get_mirrored(result))
        _save(page, gathered, counts)  # first, as it tells whether the page is ours: a late worker opens none after it
        opened = _open_pages(run, page, gathered)
        _add_to_run(run, outcomes)
    return opened


def _apply(run: SyncRun, page: SyncPage, gathered: Gathered) -> ApplyResult:
    arrived = gathered.get_arrived()
    if not arrived:  # an empty listing does not tell which organization it is of
        return ApplyResult({}, (), {})
    return apply(arrived, organization=run.organization, run_id=run.pk, pass_number=page.pass_number)


def _record_contradictions(run: SyncRun, page: SyncPage, gathered: Gathered) -> None:
    """In the order of ids: pages of two workers may list the same customers. Before the run's row is locked."""
    SyncContradiction.objects.bulk_create(
        [
            SyncContradiction(
                run=run, customer_id=key, created_at=gathered.get_created_at(key), pass_number=page.pass_number
            )
            for key in sorted(gathered.denied)
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


def _count_outcomes(run: SyncRun, result: ApplyResult, gathered: Gathered) -> Counter[str]:
    """Each customer once a run, and one that failed not also as what became of its fields."""
    return Counter(
        (Outcome.UPDATED if outcome in _SAME and key in gathered.changed else outcome).value
        for key, outcome in result.outcomes.items()
        if result.sightings[key].seen_by_run != run.pk and str(key) not in gathered.failures
    )


def _count_seen(run: SyncRun, page: SyncPage, gathered: Gathered, result: ApplyResult) -> Counter[str]:
    """Distinct customers of the pass that this page is the first to see, and what they say about its completeness."""
    counts: Counter[str] = Counter()
    for key, before in result.sightings.items():
        if before.seen_by_run == run.pk and before.seen_in_pass == page.pass_number:
            continue
        created_at = gathered.get_created_at(key)
        counts["seen"] += 1
        counts["seen_newer"] += _is_later(created_at, run.pass_began_at)
        if before.seen_by_run != run.pk:
            counts["seen_first"] += 1
            counts["seen_first_newer"] += _is_later(created_at, run.began_at)
    return counts


def _is_later(time: datetime | None, other: datetime | None) -> bool:
    return time is not None and other is not None and time > other


def _open_pages(run: SyncRun, page: SyncPage, gathered: Gathered) -> int:
    """Page 1 opens all that its answer tells of; a later answer those by which the list has grown since.

    In a walk backwards each window opens the next, once all of it is accounted for.
    """
    if gathered.answer is None or page.kind != SyncPage.Kind.LIST:
        return 0
    if page.pass_number > 1:
        if page.number > 1 and gathered.is_complete:
            open_page(run, number=page.number - 1)
            return 1
        return 0
    last = count_pages(gathered.answer)
    if page.number > 1 and last <= _get_last_number(run, page):
        return 0
    return open_following_pages(run, max_page=last)


def _get_last_number(run: SyncRun, page: SyncPage) -> int:
    pages = SyncPage.objects.filter(run=run, kind=page.kind, pass_number=page.pass_number)
    return pages.order_by("-number").values_list("number", flat=True)[0]


def _save(page: SyncPage, gathered: Gathered, counts: Counter[str]) -> None:
    fields: dict[str, Any] = {name: F(name) + number for name, number in counts.items()}
    if gathered.answer is not None:
        fields |= {
            "total_count": gathered.answer.total_count,
            "max_page": gathered.answer.max_page,
            "listed_at": gathered.answer.as_of,
            "customer_ids": gathered.ends if page.pass_number > 1 else [],
        }
    if gathered.is_complete:
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
