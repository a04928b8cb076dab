"""Which lists are asked for a customer's state, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any

from polar_sync.client import ListPage, PolarClient
from polar_sync.payloads import Interval
from polar_sync.states.rules import PRESENT

Call = Callable[..., ListPage]
Calls = Mapping[str, Call]
"""By kind of list; each takes `customer_id` and `limit`."""

_PAST_DUE = "past_due"
_MAX_IDS = 100
"""Meters named in one request, beside up to a hundred customers: servers refuse addresses of more than 16 kB."""


def build_calls(client: PolarClient, *, is_active_decisive: bool, archived: Collection[str]) -> dict[str, Call]:
    """The lists that hold a state between them.

    Where Polar counts another status as active, its own rule decides, and past due subscriptions are asked for apart.
    Archived meters are listed only where they are named.
    """
    calls: dict[str, Call] = {
        "subscriptions": partial(client.subscriptions.list, status=(*PRESENT, _PAST_DUE)),
        "grants": partial(client.benefit_grants.list, is_granted=True),
        "meters": client.customer_meters.list,
    }
    if is_active_decisive:
        calls["subscriptions"] = partial(client.subscriptions.list, active=True)
        calls["late"] = partial(client.subscriptions.list, status=_PAST_DUE)
    if archived:
        calls["archived"] = name_meters(client, archived)
    return calls


def build_unfiltered_calls(client: PolarClient, meters: Collection[str]) -> dict[str, Call]:
    """The lists with everything that they have of a customer, and these meters named."""
    calls: dict[str, Call] = {"subscriptions": client.subscriptions.list, "grants": client.benefit_grants.list}
    if meters:
        calls["meters"] = name_meters(client, meters)
    return calls


def name_meters(client: PolarClient, meters: Collection[str]) -> Call:
    """The list of customers' meters with these meters named."""
    wanted = sorted(meters)
    chunks = [wanted[start : start + _MAX_IDS] for start in range(0, len(wanted), _MAX_IDS)]
    return partial(_list_all, client.customer_meters.list, chunks)


def _list_all(list_meters: Call, chunks: Sequence[Sequence[str]], **query: Any) -> ListPage:
    """One answer made of one for each chunk; whole where every one of them is."""
    pages = [list_meters(meter_id=chunk, **query) for chunk in chunks]
    return ListPage(
        items=[item for page in pages for item in page.items],
        total_count=sum(page.total_count for page in pages),
        max_page=max(page.max_page for page in pages),
        interval=reduce(Interval.hull, (page.interval for page in pages)),
    )
