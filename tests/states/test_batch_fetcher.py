"""Tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from hypothesis import example, given
from hypothesis import strategies as st

from polar_sync.client import ListPage
from polar_sync.payloads import Interval
from polar_sync.states.batch_fetcher import PAGE_SIZE, RowsPerCustomer, ask, cut

NOW = Interval.at(datetime(2026, 11, 21, tzinfo=UTC))


def make_ids(number: int) -> list[UUID]:
    return [UUID(int=index + 1) for index in range(number)]


def answer(items: list[Any], *, total: int | None = None) -> ListPage:
    return ListPage(items=items, total_count=len(items) if total is None else total, max_page=1, interval=NOW)


@given(number=st.integers(1, 300), count=st.integers(1, 300))
def test_cut_keeps_everybody_once_in_even_parts(number: int, count: int) -> None:
    ids = make_ids(number)
    parts = cut(ids, min(count, number))
    assert [each for part in parts for each in part] == ids
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(rows=st.integers(0, 500), number=st.integers(1, 100))
def test_batches_are_as_small_as_the_answers_so_far_need(rows: int, number: int) -> None:
    rows_per_customer = RowsPerCustomer()
    rows_per_customer.note(customers=100, rows=rows)
    for part in rows_per_customer.split(make_ids(number), sizes={}):
        assert part
        assert len(part) == 1 or len(part) * rows / 100 <= PAGE_SIZE


def test_answer_that_is_whole_is_sorted_by_customer() -> None:
    ids = make_ids(3)
    items = [{"id": str(uuid4()), "customer_id": str(ids[0])} for _ in range(2)]
    batch = ask(lambda **_: answer(items), ids, rows_per_customer=RowsPerCustomer())
    assert batch.items == {ids[0]: items, ids[1]: [], ids[2]: []}


def test_answer_that_cannot_be_relied_on_is_not() -> None:
    ids = make_ids(2)
    good = {"id": str(uuid4()), "customer_id": str(ids[0])}
    doubtful: list[ListPage] = [
        answer([good], total=2),
        answer([good, good]),
        answer([good, {"id": "x", "customer_id": str(ids[0])}]),
        answer([{**good, "customer_id": str(uuid4())}]),
        answer(["not an object"]),
        answer([{**good, "customer": {"deleted_at": "2026-01-01T00:00:00Z"}}]),
        answer([good] * PAGE_SIZE, total=PAGE_SIZE + 1),
    ]
    for page in doubtful:
        assert ask(lambda page=page, **_: page, ids, rows_per_customer=RowsPerCustomer()).items is None


def test_one_customer_with_much_says_little_of_the_others() -> None:
    rows_per_customer = RowsPerCustomer()
    rows_per_customer.note(customers=100, rows=30)
    rows_per_customer.note(customers=1, rows=130)
    assert len(rows_per_customer.split(make_ids(100), sizes={})) == 1


def test_answer_that_is_not_whole_says_into_how_many_it_is_to_be_divided() -> None:
    for total, expected in ((0, 2), (101, 2), (180, 2), (181, 3), (2_000, 23)):
        page = answer([], total=total)
        assert (
            ask(lambda page=page, **_: page, make_ids(100), rows_per_customer=RowsPerCustomer()).count_parts()
            == expected
        )


@example(rows=[0] * 250)
@given(rows=st.lists(st.integers(0, 120), max_size=300))
def test_batches_of_known_customers_fit_and_are_full(rows: list[int]) -> None:
    ids = make_ids(len(rows))
    batches = RowsPerCustomer().split(ids, sizes=dict(zip(ids, rows, strict=True)))
    assert [each for batch in batches for each in batch] == ids
    sums = [sum(rows[each.int - 1] for each in batch) for batch in batches]
    for batch, total in zip(batches, sums, strict=True):
        assert len(batch) == 1 or (total <= PAGE_SIZE and len(batch) <= PAGE_SIZE)
    for batch, following, total in zip(batches, batches[1:], sums, strict=False):
        assert len(batch) == PAGE_SIZE or total + rows[following[0].int - 1] >= PAGE_SIZE * 0.98


def test_unknown_customers_beside_known_ones_count_as_the_others_did() -> None:
    rows_per_customer = RowsPerCustomer()
    rows_per_customer.note(customers=100, rows=200)
    ids = make_ids(60)
    known = dict.fromkeys(ids[:30], 1)
    [first, second] = rows_per_customer.split(ids, sizes=known)
    assert len(first) == 30 + (PAGE_SIZE - 31) * 38 // 100
    assert [*first, *second] == ids
