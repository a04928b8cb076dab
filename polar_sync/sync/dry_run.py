"""What a run would do: the same questions to Polar, the same comparison with the mirror, and nothing written.

Each page is applied by the store as ever, in a transaction that is rolled back, so that no signal goes out either. No
transaction is open while Polar is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from django.db import router, transaction

from polar_sync.client import ListPage
from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import BudgetWaitError, PolarSyncError, RateLimitError
from polar_sync.models import Customer, Organization, SyncPage, SyncRun, on_primary
from polar_sync.models.run import OUTCOMES
from polar_sync.states import wait_for
from polar_sync.store import ApplyResult, ObservationRecord, apply, get_records
from polar_sync.sync.completeness import (
    CONFIRM_SIZE,
    MAX_PASSES,
    count_pages,
    find_last_number,
    get_beginning,
    get_window,
    is_proven,
    is_unbroken,
)
from polar_sync.sync.connections import Connection, bind_organization, check_organization, do_nothing
from polar_sync.sync.fetching import fetch_missing, is_later
from polar_sync.sync.ledger import DENIED, FAILED, Ledger
from polar_sync.sync.page_results import (
    MAX_CLAIMS,
    PageResult,
    describe_failure,
    find_stopping_error,
    give_up,
    note_unresolved,
    resolve_missing,
)
from polar_sync.sync.pages import list_pages
from polar_sync.sync.resolution import MAX_ROUNDS
from polar_sync.sync.runs import MOVING, find_objection, find_reservation
from polar_sync.sync.sources import get_knowledge, is_batched
from polar_sync.sync.steps import RETRY_SECONDS, get_reason

T = TypeVar("T")


@dataclass(slots=True)
class _Totals:
    """What the answers said of the length of the list, and how many of the listed are newer than the first of them."""

    first: int = 0
    began_at: datetime | None = None
    newer: int = 0
    answers: list[tuple[datetime, int]] = field(default_factory=list)

    def add(self, answer: ListPage) -> None:
        if not self.answers:
            self.first, self.began_at = answer.total_count, get_beginning(answer)
        self.answers.append((answer.as_of, answer.total_count))

    def prove(self, seen: int) -> bool:
        is_single = len(self.answers) == 1
        return is_proven(self.answers, is_single=is_single, first=self.first, seen=seen, newer=self.newer)


class DryRun:
    """One organization, once: `work()`, then read `status`, `reason`, `detail`, as which a run would end, and `ledger`.

    A list that moved meanwhile is walked once more, backwards, as by a run. A context manager, which closes the ledger.
    """

    def __init__(
        self, organization: OrganizationSettings, connection: Connection, *, is_mass_deletion_allowed: bool = False
    ) -> None:
        self.ledger = Ledger()
        self.status: str = SyncRun.Status.RUNNING
        self.reason = self.detail = ""
        self._settings, self._connection = organization, connection
        self._is_mass_deletion_allowed = is_mass_deletion_allowed
        row = on_primary(Organization.objects).filter(name=organization.name).first()
        # Of both nothing is ever saved. The run remembers which source its states come from.
        self._organization = row or Organization(name=organization.name, server=organization.server)
        self._run = SyncRun(organization=self._organization)
        self._totals = _Totals()
        self._last_page = 1
        self._end_of_list = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ledger.close()

    def work(self) -> None:
        """Ask, compare and count. Raises nothing of Polar's: it would fail a run, and so it does this."""
        try:
            self._list()
            is_complete = self._totals.prove(sum(self.ledger.count().values())) or self._walk()
            if not is_complete:
                self._end(SyncRun.Status.PARTIAL, "moving", MOVING.format(passes=MAX_PASSES))
                return
            objection = self._find_objection()
            if objection is None:
                self._confirm()
        except PolarSyncError as error:
            self._end(SyncRun.Status.FAILED, get_reason(error), describe_failure(error))
            return
        counts = self.ledger.count()
        objection = objection or find_reservation({outcome: counts[outcome] for outcome in OUTCOMES})
        if objection is not None:
            self._end(SyncRun.Status.PARTIAL, *objection)
        else:
            self._end(SyncRun.Status.SUCCEEDED)

    def _end(self, status: str, reason: str = "", detail: str = "") -> None:
        self.status, self.reason, self.detail = status, reason, detail

    def _list(self) -> None:
        self._do([SyncPage(run=self._run, number=1)])
        number, last = 2, self._last_page
        while number <= last:
            at_most = self._connection.max_pages if is_batched(self._run) else 1
            numbers = range(number, min(number + at_most, last + 1))
            self._do([SyncPage(run=self._run, number=each) for each in numbers])
            number, last = numbers.stop, max(last, self._last_page)
        self._end_of_list = get_window(last, pass_number=1).end

    def _walk(self) -> bool:
        """Walk the list backwards, at most as often as a run; whether that has shown everybody."""
        for _ in range(2, MAX_PASSES + 1):
            last = find_last_number(self._end_of_list)
            windows = [self._do([SyncPage(run=self._run, pass_number=2, number=each)]) for each in range(last, 0, -1)]
            is_whole = get_window(last, pass_number=2).end >= self._totals.first
            if is_whole and is_unbroken(windows):
                return True
        return False

    def _do(self, pages: Sequence[SyncPage]) -> list[datetime | None]:
        """Do some pages; returns when the oldest and the newest customer of the first of them were created."""
        page_results = self._try(lambda _: self._ask_for_pages(pages))
        for each in page_results:
            if each.answer is not None:
                self._totals.add(each.answer)
                self._last_page = count_pages(each.answer)
                with self._roll_back() as organization:
                    bind_organization(organization, each.answer.items, expected=self._connection.organization_id)
                    self._organization.polar_id = organization.polar_id
        ends = [page_results[0].get_created_at(UUID(key)) for key in page_results[0].ends]
        known = self.ledger.find(key for each in page_results for key in each.observations)
        for each in page_results:
            each.observations = {key: some for key, some in each.observations.items() if key not in known}
            each.missing = set(each.observations)
            known |= each.missing  # one that slipped to the next page is on both
        self._finish(page_results)
        return ends

    def _ask_for_pages(self, pages: Sequence[SyncPage]) -> list[PageResult]:
        page_results = list_pages(pages, self._connection, on_tick=do_nothing)
        stopping_error = find_stopping_error(page_results)
        if stopping_error is not None:
            raise stopping_error
        return page_results

    def _find_objection(self) -> tuple[str, str] | None:
        missing = sum(1 for _ in self._iterate_unseen())
        if not missing or self._is_mass_deletion_allowed:
            return None
        counts = self.ledger.count()
        denied = counts.pop(DENIED, 0)
        return find_objection(self._organization, missing=missing, listed=sum(counts.values()), denied=denied)

    def _confirm(self) -> None:
        """Ask for everybody unseen or denied, as a run's confirmation does."""
        pending: list[UUID] = []
        for key in chain(self._iterate_unseen(), self.ledger.iterate(DENIED)):
            if key not in pending:
                pending.append(key)
            if len(pending) == CONFIRM_SIZE:
                self._ask_for(pending)
                pending = []
        if pending:
            self._ask_for(pending)

    def _ask_for(self, ids: Sequence[UUID]) -> None:
        listing = self._connection.executor.submit(self._connection.list_customers, page=1, limit=1)
        answer = wait_for(listing, on_tick=do_nothing)
        with self._roll_back() as organization:
            is_allowed = self._is_mass_deletion_allowed
            check_organization(organization, answer, self._connection, is_empty_believed=is_allowed)
        page = SyncPage(run=self._run, kind=SyncPage.Kind.CONFIRM, number=1)
        stored = get_records(ids)
        self._finish([PageResult(page, observations={key: [] for key in ids}, missing=set(ids), stored=stored)])

    def _iterate_unseen(self) -> Iterator[UUID]:
        """Living customers of the mirror who were not listed, or were denied; some at a time, by no open cursor."""
        customers = on_primary(Customer.objects).order_by("pk").values_list("pk", flat=True)
        customers = customers.filter(organization=self._organization.polar_id)
        last: UUID | None = None
        while some := list((customers.filter(pk__gt=last) if last else customers)[:CONFIRM_SIZE]):
            denied = self.ledger.find(some, outcome=DENIED)
            yield from sorted(denied | (set(some) - self.ledger.find(some)))
            last = some[-1]

    def _finish(self, page_results: Sequence[PageResult]) -> None:
        """Get the states, and see what the store makes of them."""
        self._try(lambda claims: self._fetch(page_results, claims))
        for each in page_results:
            self._totals.newer += sum(
                is_later(each.get_created_at(key), self._totals.began_at)
                for key in each.observations
                if each.page.kind == SyncPage.Kind.LIST
            )
            outcomes = self._compare(each)
            outcomes |= {str(key): DENIED for key in each.denied} | dict.fromkeys(each.failures, FAILED)
            # Of one that is denied and was never mirrored nothing comes when Polar knows it no more.
            self.ledger.remove(str(key) for key in each.observations if str(key) not in outcomes)
            self.ledger.add(outcomes, reasons=each.failures)

    def _compare(self, page_result: PageResult) -> dict[str, str]:
        """What the store would make of a page, once the lists have decided what times leave open."""
        page_result.page.claims = MAX_CLAIMS  # what the lists cannot tell now is a failure
        for _ in range(MAX_ROUNDS + 1):
            result = self._apply(page_result)
            if not result.unresolved:
                break
            # Of what was written nothing stays: a request from here on follows what is in the database.
            stored = get_records(result.unresolved)
            note_unresolved(
                page_result, {key: stored.get(key, ObservationRecord()) for key in result.unresolved}, changed=()
            )
            for _ in resolve_missing(
                [page_result], self._connection, knowledge=get_knowledge(self._run), on_tick=do_nothing
            ):
                pass
            if page_result.stopping_error is not None:
                raise page_result.stopping_error
        else:
            give_up([page_result])
            result = self._apply(page_result)
        return {
            str(key): outcome.value for key, outcome in result.outcomes.items() if str(key) not in page_result.failures
        }

    def _apply(self, page_result: PageResult) -> ApplyResult:
        arrived = page_result.get_arrived()
        if not arrived:
            return ApplyResult({}, (), {})
        with self._roll_back() as organization:
            return apply(arrived, organization=organization)

    def _fetch(self, page_results: Sequence[PageResult], claims: int) -> None:
        for each in page_results:
            each.page.claims, each.stopping_error = claims, None
        for _ in fetch_missing(self._run, page_results, self._connection, on_tick=do_nothing):
            pass
        stopping_error = find_stopping_error(page_results)
        if stopping_error is not None:
            raise stopping_error

    def _try(self, work: Callable[[int], T]) -> T:
        """As often as a page is claimed for trouble that passes; a wait for the budget is not counted."""
        claims = 1
        while True:
            try:
                return work(claims)
            except (BudgetWaitError, RateLimitError) as error:
                time.sleep(error.retry_in)
            except PolarSyncError as error:
                if error.permanent or claims >= MAX_CLAIMS:
                    raise
                time.sleep(RETRY_SECONDS * claims)
                claims += 1

    @contextmanager
    def _roll_back(self) -> Iterator[Organization]:
        """A transaction of which nothing stays, with the row of the organization as a run would have it.

        What the first answer showed of an organization that was never mirrored is bound in each anew.
        """
        using = router.db_for_write(Customer)
        with transaction.atomic(using=using):
            defaults = {"server": self._settings.server}
            row = Organization.objects.update_or_create(name=self._settings.name, defaults=defaults)[0]
            known = self._organization.polar_id or self._connection.organization_id
            bind_organization(row, [], expected=str(known) if known else None)
            yield row
            transaction.set_rollback(True, using=using)
