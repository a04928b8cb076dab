"""How many statements a page costs: the same for ten customers and for a hundred, and few."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from polar_sync.models import Organization, Subscription
from polar_sync.store import Observation, apply, observe_absence, observe_customer, observe_state
from tests.factories import (
    apply_customers,
    apply_states,
    build_customer,
    build_full_state,
    build_state,
    make_uuid,
    read_at,
)
from tests.store.support import capture, get_writes, rolled_back

MOST = 25
# Who is new, and who holds what the page's customers are now said to have, is only found out by trying.
MOST_ANEW = 36
is_sqlite = connection.vendor == "sqlite"


def build_states(number: int, *, version: int = 0) -> list[dict[str, Any]]:
    return [build_full_state(one, version=version, children=3) for one in range(number)]


def count_new(organization: Organization, number: int) -> list[str]:
    return capture(lambda: apply_states(organization, *build_states(number), interval=read_at(0)))


def count_changed(organization: Organization, number: int) -> list[str]:
    apply_states(organization, *build_states(number), interval=read_at(0))
    return capture(lambda: apply_states(organization, *build_states(number, version=1), interval=read_at(1)))


def count_emptied(organization: Organization, number: int) -> list[str]:
    apply_states(organization, *build_states(number), interval=read_at(0))
    return capture(lambda: apply_states(organization, *map(build_state, range(number)), interval=read_at(1)))


def count_deleted(organization: Organization, number: int) -> list[str]:
    apply_states(organization, *build_states(number), interval=read_at(0))
    absences = [observe_absence(make_uuid(one), interval=read_at(1)) for one in range(number)]
    return capture(lambda: apply(absences, organization=organization))


def count_worst(organization: Organization, number: int) -> list[str]:
    """New, changed, emptied, deleted, taking from customers of the page and from others, all with a list's items."""
    words = prepare_worst(organization, number)
    return capture(lambda: apply(words, organization=organization))


def prepare_worst(organization: Organization, number: int) -> list[Observation]:
    share = number // 5
    apply_states(organization, *build_states(number, version=1), interval=read_at(0))
    outside = [build_full_state(f"outside {one}", version=1, children=3) for one in range(share)]
    apply_states(organization, *outside, interval=read_at(0))
    states = [build_full_state(f"new {one}", children=3) for one in range(share)]
    states += build_states(share, version=2)
    for one in range(share, 2 * share):
        states.append(build_state(one))
        taken = build_full_state(f"outside {one - share}" if one % 2 else one, version=one % 3, children=3)
        states.append({**taken, **build_customer(one + share)})
    words = [observe_customer(build_customer(f"new {one}"), interval=read_at(1)) for one in range(share)]
    words += [observe_state(state, interval=read_at(2)) for state in states]
    words += [observe_absence(make_uuid(one), interval=read_at(2)) for one in range(3 * share, number)]
    return words


def get_most(count: Callable[[Organization, int], list[str]]) -> int:
    return MOST_ANEW if count is count_worst else MOST


PAGES = [count_new, count_changed, count_emptied, count_deleted, count_worst]


@pytest.mark.skipif(is_sqlite, reason="SQLite splits statements by the number of their parameters; see below")
@pytest.mark.parametrize("count", PAGES)
def test_page_of_a_hundred_costs_as_much_as_one_of_ten(
    organization: Organization, count: Callable[[Organization, int], list[str]]
) -> None:
    hundred = count(organization, 100)
    assert len(hundred) <= get_most(count), "\n".join(one[:100] for one in hundred)
    Subscription.objects.all().delete()
    organization.customers.all().delete()
    assert len(count(organization, 10)) == len(hundred)


@pytest.mark.skipif(not is_sqlite, reason="only SQLite splits statements by the number of their parameters")
@pytest.mark.parametrize("count", PAGES)
def test_page_of_a_hundred_grows_by_parameter_splits_only(
    organization: Organization, count: Callable[[Organization, int], list[str]]
) -> None:
    hundred = count(organization, 100)
    organization.customers.all().delete()
    ten = count(organization, 10)
    assert len(ten) <= get_most(count)
    assert merge_splits(hundred) == merge_splits(ten)


def merge_splits(statements: list[str]) -> list[tuple[str, str]]:
    """Verb and table of each statement; inserts into one table that follow one another are splits of one."""
    shapes: list[tuple[str, str]] = []
    for one in statements:
        table = re.search(r"polar_sync_\w+", one)
        shape = (one.split()[0], table[0] if table else "")
        if shape[0] != "INSERT" or shapes[-1:] != [shape]:
            shapes.append(shape)
    return shapes


@pytest.mark.parametrize("number", [10, 100])
def test_unchanged_page_writes_the_observation_times_only(organization: Organization, number: int) -> None:
    apply_states(organization, *build_states(number), interval=read_at(0))
    statements = capture(lambda: apply_states(organization, *build_states(number), interval=read_at(1)))
    assert merge_splits(get_writes(statements)) == [("INSERT", "polar_sync_customerobservation")]
    assert len(merge_splits(statements)) == 6


def test_page_that_was_listed_only_reads_no_children(organization: Organization) -> None:
    customers = [build_customer(one) for one in range(10)]
    apply_customers(organization, *customers, interval=read_at(0))
    statements = capture(lambda: apply_customers(organization, *customers, interval=read_at(1)))
    assert not [one for one in statements if "subscription" in one]
    assert len(get_writes(statements)) == 1


def test_nothing_is_asked_for_nothing(organization: Organization) -> None:
    assert not get_writes(capture(lambda: apply([], organization=organization)))


def test_worst_page_is_as_bad_as_it_claims(organization: Organization) -> None:
    """Every table is written to and deleted from, and a customer outside the page is touched."""
    writes = get_writes(count_worst(organization, 10))
    for table in ("subscription", "subscriptionmeter", "benefitgrant", "meter"):
        assert [one for one in writes if one.startswith(f'INSERT INTO "polar_sync_{table}"')], table
        assert [one for one in writes if one.startswith(f'DELETE FROM "polar_sync_{table}"')], table
    assert [one for one in writes if one.startswith('UPDATE "polar_sync_customer"')]
    # Twice who is new, undone once with the attempt that found who else is to be locked; and those who changed.
    assert len([one for one in writes if 'INTO "polar_sync_customer"' in one]) == 3


def test_new_customers_are_written_once(organization: Organization) -> None:
    writes = get_writes(count_new(organization, 10))
    assert len([one for one in writes if 'INTO "polar_sync_customer"' in one]) == 1
    for each in organization.customers.all():
        assert each.synced_at is not None
        assert each.email


def test_rows_are_inserted_and_locked_in_the_order_of_ids(organization: Organization) -> None:
    """Whatever the order in which Polar tells of them: that is what keeps two batches from a deadlock."""
    names = range(50)
    states = [build_full_state(one, children=1) for one in names]
    ids = {"customer": [make_uuid(one) for one in names], "customerobservation": [make_uuid(one) for one in names]}
    ids["subscription"] = [make_uuid(f"subscription {one}.0") for one in names]
    for some in (states, states[::-1]):
        with rolled_back():
            statements = capture(partial(apply_states, organization, *some, interval=read_at(0)))
        for table, keys in ids.items():
            inserts = " ".join(one for one in statements if f'INTO "polar_sync_{table}"' in one)
            assert find_ids(inserts, among=keys) == sorted(keys), table
        if not is_sqlite:
            locks = [one for one in statements if one.endswith(" FOR UPDATE")]
            assert len(locks) == 2, "the first found that nobody has a row yet"
            for lock in locks:
                assert re.search(r"ORDER BY (1|\S+customer_id\S?) ASC FOR UPDATE$", lock), lock


def find_ids(text: str, *, among: Collection[UUID]) -> list[UUID]:
    """In the order in which they are written first."""
    found = map(UUID, re.findall(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27})\b", text))
    return list(dict.fromkeys(one for one in found if one in among))
