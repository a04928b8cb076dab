"""Whether a pass over a moving list saw everybody, and who of the mirror it did not see.

https://polar.sh/docs/api-reference/customers/list pages by offset over a changing set: a deletion moves every later
customer up by one, and one of them is on no page.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from django.db.models import Q, QuerySet

from polar_sync.models import Customer, SyncPage, SyncRun

MAX_PASSES = 3
CONFIRM_SIZE = 100
_NOBODY = str(UUID(int=0))


def is_complete(run: SyncRun) -> bool:
    """Whether the run's present pass, all of whose pages are done, saw every customer there was when it began.

    The counts prove it where the distinct customers seen equal the last answer's total, and that equals the first
    answer's plus those seen that are newer than it: then all that the first answer counted were seen. A deletion in
    between spoils that proof, but not the one of a walk backwards (`polar_sync.sync.windows`). Where it is only equal
    timestamps that change places between answers, all passes together give the proof that none gives alone.
    """
    every = list(SyncPage.objects.filter(run=run, kind=SyncPage.Kind.LIST).order_by("pass_number", "number"))
    pages = [page for page in every if page.pass_number == run.pass_number]
    seen, newer = sum(page.seen for page in pages), sum(page.seen_newer for page in pages)
    if _is_proven(pages, first=run.pass_total or 0, seen=seen, newer=newer):
        return True
    seen, newer = sum(page.seen_first for page in every), sum(page.seen_first_newer for page in every)
    if _is_proven(every, first=run.first_total or 0, seen=seen, newer=newer):
        return True
    return run.pass_number > 1 and _is_unbroken(pages)


def _is_unbroken(pages: list[SyncPage]) -> bool:
    """Whether no customer can have slipped from one window of a walk backwards to the one that was listed before it.

    That takes customers with equal `created_at` on both sides of the border between the two. Where the oldest of the
    one and the newest of the other were created at different times, no such customers are there.
    """
    ends = {UUID(key) for page in pages for key in page.customer_ids}
    created = dict(Customer.all_objects.filter(pk__in=ends).values_list("pk", "created_at"))
    border = None
    for page in reversed(pages):
        if not page.customer_ids and border is None:
            continue  # beyond the end of the list
        oldest, newest = (created.get(UUID(key)) for key in page.customer_ids or (_NOBODY, _NOBODY))
        if oldest is None or newest is None or newest == border:
            return False
        border = oldest
    return True


def _is_proven(pages: list[SyncPage], *, first: int, seen: int, newer: int) -> bool:
    """Every total must lie between the first and the last: answers of one second cannot be told apart by time."""
    answers = sorted((page.listed_at, page.pk, page.total_count or 0) for page in pages if page.listed_at)
    totals = [total for _, _, total in answers]
    last = totals[-1] if totals else 0
    return seen == last == first + newer and all(first <= total <= last for total in totals)


def get_unseen(run: SyncRun) -> QuerySet[Customer]:
    """Living customers of the mirror that the run has not seen, and nobody else since it began."""
    customers: QuerySet[Customer] = Customer.objects.filter(organization=run.organization)
    unseen = customers.filter(Q(observation__seen_by_run=None) | ~Q(observation__seen_by_run=run.pk))
    if run.began_at is not None:
        unseen = unseen.exclude(created_at__gt=run.began_at)
    return unseen


def batch_ids(customers: QuerySet[Customer]) -> Iterator[list[str]]:
    """Their ids as text, so many as one confirmation page takes."""
    ids: Iterator[UUID] = customers.order_by("pk").values_list("pk", flat=True).iterator()
    while some := list(islice(ids, CONFIRM_SIZE)):
        yield [str(customer_id) for customer_id in some]
