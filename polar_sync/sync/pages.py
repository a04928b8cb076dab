"""The pages of one claim, as Polar lists them, and the customers to be confirmed as gone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from uuid import UUID

from polar_sync.client import ListPage
from polar_sync.exceptions import PayloadError, PolarSyncError
from polar_sync.models import CustomerObservation, SyncContradiction, SyncFailure, SyncPage, SyncRun, on_primary
from polar_sync.payloads import dump_canonical, read_id
from polar_sync.states import wait_for
from polar_sync.store import get_records, observe_customer
from polar_sync.sync.completeness import get_window
from polar_sync.sync.connections import Connection, check_organization
from polar_sync.sync.page_results import PageResult


def list_pages(pages: Sequence[SyncPage], connection: Connection, *, on_tick: Callable[[], None]) -> list[PageResult]:
    """Ask Polar for the pages, oldest customers first, and read their items; none is lost for another's fault."""
    asked = [_ask(page, connection) for page in pages]
    try:
        return [_gather(page, each, on_tick) for page, each in zip(pages, asked, strict=True)]
    finally:
        for each in asked:
            if isinstance(each, Future):
                each.cancel()


def _ask(page: SyncPage, connection: Connection) -> ListPage | Future[ListPage]:
    """Ask for the page, unless its answer is left over from an earlier claim of it."""
    kept = connection.partial_results.take_listing(page.pk)
    if kept is not None:
        return kept
    window = get_window(page.number, pass_number=page.pass_number)
    return connection.executor.submit(connection.list_customers, page=window.page, limit=window.limit)


def _gather(page: SyncPage, asked: ListPage | Future[ListPage], on_tick: Callable[[], None]) -> PageResult:
    page_results = PageResult(page)
    try:
        answer = wait_for(asked, on_tick=on_tick) if isinstance(asked, Future) else asked
    except PolarSyncError as error:
        page_results.stopping_error = error
        return page_results
    page_results.answer = answer
    for item in answer.items:
        try:
            observation = observe_customer(item, interval=answer.interval)
        except PayloadError as error:
            page_results.failures[_name_customer(item)] = error.reason
        else:
            page_results.observations.setdefault(observation.id, []).append(observation)
            page_results.items[observation.id] = item
    page_results.ends = _get_ends(page_results)
    return page_results


def find_missing(run: SyncRun, page_results: Iterable[PageResult]) -> None:
    """Note of whom the states are still to be asked for: those the run has not accounted for.

    Those whose states Polar has denied already are left to the confirmation.
    """
    listed = [each for each in page_results if each.answer is not None]
    ids = {key for each in listed for key in each.observations}
    accounted = _get_accounted(run, ids)
    denied = _get_denied(run, ids - accounted) if run.pass_number > 1 else set()
    for each in listed:
        each.denied = each.observations.keys() & denied
        each.missing = each.observations.keys() - accounted - denied


def _get_denied(run: SyncRun, ids: set[UUID]) -> set[UUID]:
    denied = SyncContradiction.objects.filter(run=run, customer_id__in=ids)
    return set(denied.values_list("customer_id", flat=True))


def _get_ends(page_result: PageResult) -> list[str]:
    times = {
        observation.customer.created_at: str(key)
        for key, observations in page_result.observations.items()
        for observation in observations
        if observation.customer is not None and observation.customer.created_at is not None
    }
    return [times[min(times)], times[max(times)]] if times else []


def read_confirmation(
    run: SyncRun, page: SyncPage, connection: Connection, *, on_tick: Callable[[], None]
) -> PageResult:
    """The customers of a confirmation page that the run has not accounted for yet.

    A run may be continued with another token. To one of another organization all of them are unknown, so it has to show
    first whose it is; raises `OrganizationMismatchError`.
    """
    ids = {UUID(value) for value in page.customer_ids}
    page_results = PageResult(page)
    page_results.missing = ids - _get_accounted(run, ids)
    page_results.observations = {key: [] for key in page_results.missing}
    page_results.stored = get_records(page_results.missing)
    if page_results.missing:
        listing = connection.executor.submit(connection.list_customers, page=1, limit=1)
        answer = wait_for(listing, on_tick=on_tick)
        is_allowed = run.is_mass_deletion_allowed
        check_organization(run.organization, answer, connection, is_empty_believed=is_allowed)
    return page_results


def _get_accounted(run: SyncRun, ids: Iterable[UUID]) -> set[UUID]:
    """Customers that this run has dealt with already: before a worker died, on another page, in an earlier pass.

    Times are not asked: they are lower bounds, and one of a state read just before the run can lie after its start.
    """
    wanted = list(ids)
    accounted = on_primary(CustomerObservation.objects).filter(seen_by_run=run.pk, pk__in=wanted)
    failed = SyncFailure.objects.filter(run=run, customer_id__in=map(str, wanted)).values_list("customer_id", flat=True)
    return set(accounted.values_list("pk", flat=True)) | {UUID(key) for key in failed}


def _name_customer(item: Any) -> str:
    """The id of an item that cannot be mirrored, or something that stays the same from page to page."""
    with suppress(PayloadError):
        return str(read_id(item, what="customer"))
    try:
        text = dump_canonical(item)
    except PayloadError as error:
        text = error.reason
    return f"(no id) {hashlib.sha256(text.encode()).hexdigest()[:12]}"
