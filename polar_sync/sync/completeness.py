"""Whether a pass over a moving list saw everybody, and who of the mirror it did not see.

https://polar.sh/docs/api-reference/customers/list pages by offset over a changing set: a deletion moves every later
customer up by one, and one of them is on no page. A stretch begins at a multiple of its length. The first pass takes
whole pages, in any order and by many at once. Where customers are deleted meanwhile, later ones walk backwards, from
the newest customers to the oldest, through windows that overlap: a deletion only ever moves a customer down, to where
the walk has not been yet, and the overlap shows that nobody slipped through among equal timestamps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from polar_sync.client import ListPage
from polar_sync.models import Customer, CustomerObservation, SyncContradiction, SyncPage, SyncRun, on_primary
from polar_sync.store import REPLICA_LAG

PAGE_SIZE = 100
_walks: dict[int, list[Window]] = {}
_lock = threading.Lock()
MAX_PASSES = 3
CONFIRM_SIZE = 100


def count_pages(answer: ListPage) -> int:
    """How many whole pages the list has: as many as its customers fill, whatever number of pages the answer tells.

    Where the page itself is not full, which says that the list ends with it, no more than the answer tells.
    """
    filled = -(-answer.total_count // PAGE_SIZE)
    return filled if len(answer.items) >= PAGE_SIZE else min(answer.max_page, filled)


class Window(NamedTuple):
    """The customers from `start` up to `end`, counted from 0; `page` and `limit` are how Polar is asked for them."""

    page: int
    limit: int

    @property
    def start(self) -> int:
        """The first of them."""
        return (self.page - 1) * self.limit

    @property
    def end(self) -> int:
        """The one after the last."""
        return self.page * self.limit


def get_window(number: int, *, pass_number: int) -> Window:
    """The window of that number, from 1; higher numbers are further on in the list."""
    if pass_number == 1:
        return Window(number, PAGE_SIZE)
    with _lock:
        walk = _walks.setdefault(PAGE_SIZE, [Window(1, PAGE_SIZE)])
        while len(walk) < number:
            walk.append(_find_next(walk[-1], size=PAGE_SIZE))
        return walk[number - 1]


def find_last_number(end: int) -> int:
    """The number of the overlapping window from which a walk backwards must begin to cover everything before `end`."""
    number = 1
    while get_window(number, pass_number=2).end < end:
        number += 1
    return number


def _find_next(window: Window, *, size: int) -> Window:
    """The window that reaches furthest of those that share a fifth of a page with this one, or less where none does."""
    for overlap in range(size // 5, -1, -1):
        latest_start = window.end - overlap
        windows = (Window(latest_start // limit + 1, limit) for limit in range(1, size + 1))
        found = max(windows, key=lambda one: one.end)
        if found.end > window.end:
            return found
    raise AssertionError("a window of one customer that begins where this one ends always reaches further")


def get_beginning(answer: ListPage) -> datetime:
    """The time up to which a first answer counts all customers: Polar lists them from a replica, which may be behind.

    One who was created later may be on the list before that answer or only after it, and counts as newer.
    """
    return answer.interval.widen(before=REPLICA_LAG).start


def is_complete(run: SyncRun) -> bool:
    """Whether the run's present pass, all of whose pages are done, saw every customer there was when it began.

    The counts prove it where the distinct customers seen equal the last answer's total, and that equals the first
    answer's plus those seen that are newer than it: then all that the first answer counted were seen. A deletion in
    between spoils that proof, but not the one of a walk backwards. Where it is only equal timestamps that change places
    between answers, all passes together give the proof that none gives alone.
    """
    every = list(SyncPage.objects.filter(run=run, kind=SyncPage.Kind.LIST).order_by("pass_number", "number"))
    pages = [page for page in every if page.pass_number == run.pass_number]
    seen, newer = _count_denied(run, since=run.pass_began_at, pass_number=run.pass_number)
    seen, newer = seen + sum(page.seen for page in pages), newer + sum(page.seen_newer for page in pages)
    if _is_proven(pages, first=run.pass_total or 0, seen=seen, newer=newer):
        return True
    seen, newer = _count_denied(run, since=run.began_at)
    seen, newer = seen + sum(page.seen_first for page in every), newer + sum(page.seen_first_newer for page in every)
    if _is_proven(every, first=run.first_total or 0, seen=seen, newer=newer):
        return True
    return run.pass_number > 1 and _is_whole(run, pages) and _is_unbroken(run, pages)


def _is_whole(run: SyncRun, pages: list[SyncPage]) -> bool:
    """Whether a walk backwards began behind all customers that there were when the run began."""
    last = max((page.number for page in pages), default=1)
    return get_window(last, pass_number=run.pass_number).end >= (run.first_total or 0)


def _count_denied(run: SyncRun, *, since: datetime | None, pass_number: int | None = None) -> tuple[int, int]:
    """Customers that were listed, in one pass or in any, and not mirrored there; and how many are newer than `since`.

    They are on no page's count: one page may have been denied a state that another got.
    """
    mirrored = on_primary(CustomerObservation.objects).filter(pk=OuterRef("customer_id"), seen_by_run=run.pk)
    denied = SyncContradiction.objects.filter(run=run)
    if pass_number is not None:
        mirrored = mirrored.filter(seen_in_pass=pass_number)
        denied = denied.filter(pass_number=pass_number)
    counts = denied.filter(~Exists(mirrored)).aggregate(
        seen=Count("pk"), newer=Count("pk", filter=Q(created_at__gt=since) if since else Q(pk=None))
    )
    return counts["seen"], counts["newer"]


def _is_unbroken(run: SyncRun, pages: list[SyncPage]) -> bool:
    ends = {UUID(key) for page in pages for key in page.customer_ids}
    denied = SyncContradiction.objects.filter(run=run, customer_id__in=ends)
    created = dict(denied.values_list("customer_id", "created_at"))
    created |= dict(on_primary(Customer.all_objects).filter(pk__in=ends).values_list("pk", "created_at"))
    return is_unbroken([created.get(UUID(key)) for key in page.customer_ids] for page in reversed(pages))


def is_unbroken(windows: Iterable[Sequence[datetime | None]]) -> bool:
    """Whether no customer can have slipped from one window of a walk backwards to the one that was listed before it.

    `windows` are in the order of the walk, each as when its oldest and its newest customer were created; empty where it
    has none. A customer that slips takes customers with equal `created_at` on both sides of the border between two.
    Where the oldest of the one and the newest of the other were created at different times, no such are there.
    """
    border = None
    for ends in windows:
        if not ends and border is None:
            continue  # beyond the end of the list
        oldest, newest = ends or (None, None)
        if oldest is None or newest is None or newest == border:
            return False
        border = oldest
    return True


def _is_proven(pages: list[SyncPage], *, first: int, seen: int, newer: int) -> bool:
    answers = [
        (page.listed_at, page.total_count or 0) for page in sorted(pages, key=attrgetter("pk")) if page.listed_at
    ]
    is_single = len(pages) == 1 and pages[0].number == 1
    return is_proven(answers, is_single=is_single, first=first, seen=seen, newer=newer)


def is_proven(answers: Sequence[tuple[datetime, int]], *, is_single: bool, first: int, seen: int, newer: int) -> bool:
    """Whether totals prove that everybody was seen; `answers` are when each was given, and the total it told.

    Every total must lie between the first and the last: answers of one second cannot be told apart by time.
    Where nothing was listed, nothing is proven; a single answer that lists all it counts needs no proof.
    """
    totals = [total for _, total in sorted(answers, key=itemgetter(0))]
    if not totals:
        return False
    if is_single:
        return seen == totals[0]
    return seen == totals[-1] == first + newer and all(first <= total <= totals[-1] for total in totals)


def get_unseen(run: SyncRun) -> QuerySet[Customer]:
    """Living customers of the mirror that the run has not seen on any page, or whose state Polar denied.

    Those too who seem to have been created since it began: by how much two clocks differ is not known that well.
    """
    customers: QuerySet[Customer] = on_primary(Customer.objects).filter(organization=run.organization)
    return customers.filter(Q(observation__seen_by_run=None) | ~Q(observation__seen_by_run=run.pk))


def batch_unconfirmed(run: SyncRun) -> Iterator[list[str]]:
    """The ids, as text and as many as one confirmation page takes, of all who have to be asked for themselves.

    Beside the unseen those whose state Polar denied and who are not in the mirror: nobody is lost for that.
    """
    living = on_primary(Customer.objects).filter(pk=OuterRef("customer_id"))
    seen = on_primary(CustomerObservation.objects).filter(pk=OuterRef("customer_id"), seen_by_run=run.pk)
    unknown = SyncContradiction.objects.filter(~Exists(living), ~Exists(seen), run=run).order_by("customer_id")
    ids: Iterator[UUID] = chain(
        get_unseen(run).order_by("pk").values_list("pk", flat=True).iterator(),
        unknown.values_list("customer_id", flat=True).iterator(),
    )
    while some := list(islice(ids, CONFIRM_SIZE)):
        yield [str(customer_id) for customer_id in some]
