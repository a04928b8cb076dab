"""The rules that Polar's lists follow, as far as a run has learned them, and the lists that they ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

from polar_sync.client import ListPage, PolarClient
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.payloads import METER, SUBSCRIPTION, Interval, Kind
from polar_sync.payloads.kinds import PAST_DUE, PRESENT, get_state_kinds
from polar_sync.payloads.values import clean_text, read_uuid
from polar_sync.states.fields import StateFields, escape, unescape
from polar_sync.states.source import stops_fetching, wait_for

MAX_SAMPLES = 10
"""Samples of one trait; where none of them could confirm it, whoever has it is asked for one by one."""
LATE, ARCHIVED = "late", "archived"
"""Lists beside that of each kind: past due subscriptions where they are asked for apart, meters that are named."""
ACTIVE, BY_STATUS = "active", "status"
"""The two ways of counting the subscriptions that states hold."""
logger = logging.getLogger(__name__)
_MAX_PAGES = 100
Call = Callable[..., ListPage]
Calls = Mapping[str, Call]
"""By kind of list; each takes `customer_id` and `limit`."""
_MAX_IDS = 100
"""Meters named in one request, beside up to a hundred customers: servers refuse addresses of more than 16 kB."""


@dataclass(slots=True)
class Knowledge:
    """What real states have confirmed of assembled ones, and which rules the lists follow.

    `confirmed` are traits that a state and the lists had alike, `tries` the samples that could not confirm a trait.
    `totals` are the organization's subscriptions counted in two ways; null where the lists do not tell. `archived` are
    the ids of archived meters, null until they are known. A `contradiction` says what lists and states disagree about.
    """

    fields: StateFields = field(default_factory=StateFields)
    confirmed: set[str] = field(default_factory=set)
    tries: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int | None] = field(default_factory=dict)
    archived: frozenset[str] | None = None
    contradiction: str = ""

    @property
    def is_active_decisive(self) -> bool:
        """Whether Polar counts a subscription as active that is neither active nor trialing, or not all of these."""
        by_rule = self.totals.get(ACTIVE)
        return by_rule is not None and by_rule != self.totals.get(BY_STATUS)

    @property
    def refutation(self) -> str:
        """Why states cannot be put together from lists, as far as that is known; empty where they can."""
        if self.contradiction:
            return self.contradiction
        mixed = sorted(f"{kind} {name}" for kind in self.fields.shown for name in self.fields.get_mixed(kind))
        return f"States have some fields now and then only: {', '.join(mixed)}." if mixed else ""

    @property
    def is_confirmed(self) -> bool:
        """Whether states say what lists do; else these tell what there is, and not reliably all that it is."""
        return bool(self.confirmed) and not self.refutation and not self.fields.state_only

    def is_exhausted(self, trait: str) -> bool:
        """Whether so many samples could not confirm a trait that no more are taken."""
        return self.tries.get(trait, 0) >= MAX_SAMPLES

    def dump(self) -> dict[str, Any]:
        """As JSON, to be kept with the run."""
        return {
            **self.fields.dump(),
            "confirmed": sorted(map(escape, self.confirmed)),
            "tries": {escape(trait): number for trait, number in self.tries.items()},
            "totals": self.totals,
            "archived": None if self.archived is None else sorted(self.archived),
            "contradiction": clean_text(self.contradiction),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Knowledge:
        """From what `dump` gave, or from nothing."""
        archived = data.get("archived")
        return cls(
            fields=StateFields.load(data),
            confirmed=set(map(unescape, data.get("confirmed", ()))),
            tries={unescape(trait): number for trait, number in data.get("tries", {}).items()},
            totals=dict(data.get("totals", {})),
            archived=None if archived is None else frozenset(archived),
            contradiction=data.get("contradiction", ""),
        )

    def merge(self, other: Knowledge) -> None:
        """Take in what another worker of the run has learned."""
        self.fields.merge(other.fields)
        self.confirmed |= other.confirmed
        self.tries |= {trait: max(number, self.tries.get(trait, 0)) for trait, number in other.tries.items()}
        self.totals = {**other.totals, **self.totals}
        if other.archived is not None:
            self.archived = (self.archived or frozenset()) | other.archived
        self.contradiction = self.contradiction or other.contradiction


def read_rules(
    knowledge: Knowledge,
    client: PolarClient,
    executor: Executor,
    *,
    organization_id: str | None,
    mirrored_archived: Callable[[], Collection[str]],
    on_tick: Callable[[], None],
) -> PolarSyncError | None:
    """Ask for what is not known yet; returns what was in the way, to be tried again.

    What a token may not read stays as the mirror knows it: `mirrored_archived` gives the ids of archived meters.
    """
    reader = _Reader(client, organization_id)
    futures: dict[str, Future[int | frozenset[str]]] = {
        way: executor.submit(reader.count, way) for way in (ACTIVE, BY_STATUS) if way not in knowledge.totals
    }
    if knowledge.archived is None:
        futures[ARCHIVED] = executor.submit(reader.read_archived)
    stopping_error: PolarSyncError | None = None
    for name, future in futures.items():
        try:
            value = wait_for(future, on_tick=on_tick)
        except PolarSyncError as error:
            if _is_to_be_tried_again(name, error):
                if not stops_fetching(stopping_error):
                    stopping_error = error
            elif name == ARCHIVED:
                logger.warning("Archived meters are those that the mirror knows of: %s", error)
                knowledge.archived = frozenset(mirrored_archived())
            else:
                knowledge.totals[name] = None
        else:
            if isinstance(value, int):
                knowledge.totals[name] = value
            else:
                knowledge.archived = value
    return stopping_error


def _is_to_be_tried_again(name: str, error: PolarSyncError) -> bool:
    if isinstance(error, MissingScopeError):
        return name != ARCHIVED  # without the scope for subscriptions there are no states from lists
    return stops_fetching(error) or not error.permanent


class _Reader:
    def __init__(self, client: PolarClient, organization_id: str | None) -> None:
        self._client = client
        self._organization_id = organization_id

    def count(self, way: str) -> int:
        """The organization's subscriptions that are in states, by Polar's rule or by the statuses known here."""
        rule = {"active": True} if way == ACTIVE else {"status": PRESENT}
        page = self._client.subscriptions.list(organization_id=self._organization_id, limit=1, **rule)
        return page.total_count

    def read_archived(self) -> frozenset[str]:
        """The ids of all archived meters."""
        found: set[str] = set()
        for number in range(1, _MAX_PAGES + 1):
            page = self._client.meters.list(organization_id=self._organization_id, is_archived=True, page=number)
            found |= _get_ids(page)
            if number >= page.max_page:
                break
        return frozenset(found)


def _get_ids(page: ListPage) -> set[str]:
    ids = (item.get("id") for item in page.items if isinstance(item, dict))
    return {each for each in ids if isinstance(each, str) and read_uuid(each) is not None}


def build_calls(client: PolarClient, *, is_active_decisive: bool, archived: Collection[str]) -> dict[str, Call]:
    """The lists that hold a state between them.

    Where Polar counts another status as active, its own rule decides, and past due subscriptions are asked for apart.
    Archived meters are listed only where they are named.
    """
    calls: dict[str, Call] = {
        kind.name: partial(_get_list(client, kind), **kind.parameters) for kind in get_state_kinds()
    }
    if is_active_decisive:
        calls[SUBSCRIPTION.name] = partial(client.subscriptions.list, active=True)
        calls[LATE] = partial(client.subscriptions.list, status=PAST_DUE)
    if archived:
        calls[ARCHIVED] = name_meters(client, archived)
    return calls


def _get_list(client: PolarClient, kind: Kind) -> Call:
    call: Call = getattr(client, kind.operation).list
    return call


def build_unfiltered_calls(client: PolarClient, meters: Collection[str]) -> dict[str, Call]:
    """The lists with everything that they have of a customer, and these meters named."""
    calls = {kind.name: _get_list(client, kind) for kind in get_state_kinds() if kind is not METER}
    if meters:
        calls[METER.name] = name_meters(client, meters)
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
