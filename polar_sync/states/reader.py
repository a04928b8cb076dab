"""Lists read for some customers under the rules that a run has learned, once and again.

Polar never caches its lists, as it does states. https://polar.sh/docs/api-reference/subscriptions/list
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from polar_sync.client import PolarClient, PolarObject
from polar_sync.payloads import BENEFIT_GRANT, METER, SUBSCRIPTION, Kind
from polar_sync.payloads.kinds import get_nested_kinds, get_state_kinds
from polar_sync.states.assembly import CustomerParts, assemble, assemble_whole, build_object
from polar_sync.states.batch_fetcher import BatchFetcher, Mirrored, RowEstimates
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.comparison import index_objects, is_of_benefit, is_readable, is_same_version
from polar_sync.states.fields import StateFields
from polar_sync.states.rules import Knowledge, build_calls, build_unfiltered_calls
from polar_sync.states.source import StateAnswer, wait_for


@dataclass(slots=True)
class ListReader:
    """Asks Polar's lists about customers; errors that end all asking are raised by the second readings."""

    client: PolarClient
    executor: Executor
    estimates: RowEstimates
    knowledge: Knowledge
    catalogue: Catalogue = field(default_factory=Catalogue)
    mirrored: Mirrored = field(default_factory=Mirrored)

    def make_fetcher(self, parts: dict[UUID, CustomerParts]) -> BatchFetcher:
        """The requests that complete these parts, not sent yet."""
        knowledge = self.knowledge
        archived = knowledge.archived or frozenset()
        is_decided = knowledge.is_active_decisive
        return BatchFetcher(
            self.client,
            self.executor,
            build_calls(self.client, is_active_decisive=is_decided, archived=archived),
            parts=parts,
            estimates=self.estimates,
            fields=knowledge.fields,
            catalogue=self.catalogue,
            mirrored=self.mirrored,
            archived=archived,
            is_decided=is_decided,
        )

    def read(self, ids: Iterable[UUID], *, on_tick: Callable[[], None]) -> dict[UUID, CustomerParts]:
        """What the lists hold of these customers now; without those of whom they cannot tell."""
        return _finish(self.make_fetcher({key: CustomerParts() for key in ids}), on_tick)

    def read_unfiltered(
        self, ids: Iterable[UUID], *, meters: Collection[str], on_tick: Callable[[], None]
    ) -> dict[UUID, CustomerParts]:
        """Their subscriptions and grants whatever has become of them, and these meters of theirs, named."""
        fetcher = BatchFetcher(
            self.client,
            self.executor,
            build_unfiltered_calls(self.client, meters),
            parts={key: CustomerParts() for key in ids},
            estimates=RowEstimates(),  # what ended counts here and in no other answer
            fields=StateFields(),
            catalogue=self.catalogue,
            mirrored=Mirrored(),
            is_decided=True,
        )
        return _finish(fetcher, on_tick)

    def read_customer(self, customer_id: UUID, *, on_tick: Callable[[], None]) -> Mapping[str, Any]:
        """The customer's own fields now."""
        return wait_for(self.executor.submit(self.client.customers.get, str(customer_id)), on_tick=on_tick)


def _finish(fetcher: BatchFetcher, on_tick: Callable[[], None]) -> dict[UUID, CustomerParts]:
    fetcher.run(on_tick)
    if fetcher.stopping_error is not None:
        raise fetcher.stopping_error
    complete = fetcher.get_complete()
    return {key: parts for key, parts in fetcher.parts.items() if key in complete}


def ask_lists(
    reader: ListReader,
    *,
    listed: Mapping[UUID, Mapping[str, Any]],
    shown: Mapping[UUID, Mapping[str, Any]],
    on_tick: Callable[[], None],
) -> Iterator[StateAnswer]:
    """Yield an answer for each customer, put together from the lists; one without an error or state cannot be.

    `listed` are their items of the customers list, `shown` the states that some of them were seen to have: which
    fields a state has is learned from these too, and which of its meters have to be named. An object that was shown
    in the same version is as it was shown.
    """
    knowledge, fields = reader.knowledge, reader.knowledge.fields
    knowledge.archived = (knowledge.archived or frozenset()) | _get_meters(shown)
    fetcher = reader.make_fetcher({key: CustomerParts() for key in listed})
    fetcher.run(on_tick)
    complete = fetcher.get_complete()
    told = {key: assemble_whole(listed[key], fetcher.parts[key]) for key in complete}
    readable = {key for key in complete if is_readable(told[key])}
    for key in readable & shown.keys():
        ours = index_objects(told[key])
        for place, seen in index_objects(shown[key]).items():
            if place in ours and is_same_version(ours[place], seen):
                fields.learn(place[0], seen, ours[place])
    for key in listed:
        if key not in complete:
            yield StateAnswer(key, error=fetcher.errors.get(key) or fetcher.stopping_error)
            continue
        if key not in readable:
            yield StateAnswer(key)
            continue
        parts = fetcher.parts[key]
        assembled = assemble(listed[key], parts, fields)
        if key in shown:
            assembled = _prefer_shown(assembled, shown[key], is_refuted=bool(knowledge.refutation))
        state = PolarObject(assembled, interval=parts.interval)
        outside_state = tuple(build_object(SUBSCRIPTION, each, fields) for each in parts.outside_state)
        yield StateAnswer(
            key,
            state=state,
            outside_state=outside_state,
            unreliable_fields=fields.get_unreliable_fields(),
            gone=parts.gone,
        )


def _prefer_shown(assembled: dict[str, Any], shown: Mapping[str, Any], *, is_refuted: bool) -> dict[str, Any]:
    """The state with its objects as they were shown, but for what lists tell better unless they are refuted."""
    objects = index_objects(shown)

    def settle(kind: Kind, child: dict[str, Any], *parents: str) -> dict[str, Any]:
        seen = objects.get((kind.name, (*parents, str(child["id"]))))
        if seen is None or not is_same_version(child, seen):
            return child
        newer = {name: value for name, value in child.items() if kind is BENEFIT_GRANT and is_of_benefit(name)}
        return {**seen, **({} if is_refuted else newer)}

    def settle_whole(kind: Kind, child: dict[str, Any]) -> dict[str, Any]:
        settled = settle(kind, child)
        for nested in get_nested_kinds(kind):
            held = child.get(nested.array)
            if isinstance(held, list):
                settled = {**settled, nested.array: [settle(nested, each, str(child["id"])) for each in held]}
        return settled

    kinds = get_state_kinds()
    return {**assembled, **{kind.array: [settle_whole(kind, each) for each in assembled[kind.array]] for kind in kinds}}


def _get_meters(shown: Mapping[UUID, Mapping[str, Any]]) -> frozenset[str]:
    """The meters that these states hold: an archived one is listed only where it is named."""
    objects = [
        item for state in shown.values() for place, item in index_objects(state).items() if place[0] == METER.name
    ]
    return frozenset(str(item["meter_id"]) for item in objects if item.get("meter_id"))
