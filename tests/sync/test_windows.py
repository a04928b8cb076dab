"""Which stretches of the list a pass asks for."""

from itertools import pairwise

import pytest

from polar_sync.sync import windows
from polar_sync.sync.windows import find_last_number, get_window


def test_first_pass_takes_whole_pages() -> None:
    assert [get_window(number, pass_number=1) for number in (1, 2, 500)] == [(1, 100), (2, 100), (500, 100)]
    assert (get_window(3, pass_number=1).start, get_window(3, pass_number=1).end) == (200, 300)


def test_windows_of_a_walk_overlap_by_a_fifth_of_a_page_from_the_first_customer_on() -> None:
    found = [get_window(number, pass_number=2) for number in range(1, find_last_number(200_000) + 1)]
    assert found[0].start == 0
    assert found[-1].end >= 200_000
    assert all(1 <= window.limit <= 100 and window.page >= 1 for window in found)
    assert all(before.end - 20 >= after.start for before, after in pairwise(found))
    assert all(before.end < after.end for before, after in pairwise(found))


def test_walk_asks_for_less_than_twice_the_pages() -> None:
    assert find_last_number(100_000) < 2 * 1_000


@pytest.mark.parametrize("size", range(1, 30))
def test_small_windows_leave_no_gap_however_little_they_can_overlap(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "PAGE_SIZE", size)
    found = [get_window(number, pass_number=2) for number in range(1, 60)]
    assert all(before.end >= after.start for before, after in pairwise(found))
    assert all(before.end < after.end for before, after in pairwise(found))


def test_walk_begins_where_the_list_ended() -> None:
    assert find_last_number(1) == 1
    assert find_last_number(100) == 1
    assert find_last_number(101) == 2
