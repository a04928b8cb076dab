"""What the lists tell of a few customers, whatever their number: asked to decide what times leave open.

Polar never caches its lists, as it does states. https://polar.sh/docs/api-reference/subscriptions/list
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, assemble, assemble_whole, build_subscription
from polar_sync.states.comparison import index_objects, is_of_benefit, is_readable, is_same_version
from polar_sync.states.reader import ListReader
from polar_sync.states.source import StateAnswer


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
    inquiry = reader.inquire({key: Parts() for key in listed})
    inquiry.run(on_tick)
    complete = inquiry.get_complete()
    told = {key: assemble_whole(listed[key], inquiry.parts[key]) for key in complete}
    readable = {key for key in complete if is_readable(told[key])}
    for key in readable & shown.keys():
        ours = index_objects(told[key])
        for place, seen in index_objects(shown[key]).items():
            if place in ours and is_same_version(ours[place], seen):
                fields.learn(place[0], seen, ours[place])
    for key in listed:
        if key not in complete:
            yield StateAnswer(key, error=inquiry.errors.get(key) or inquiry.obstacle)
            continue
        if key not in readable:
            yield StateAnswer(key)
            continue
        parts = inquiry.parts[key]
        assembled = assemble(listed[key], parts, fields)
        if key in shown:
            assembled = _prefer_shown(assembled, shown[key], is_refuted=bool(knowledge.refutation))
        state = PolarObject(assembled, interval=parts.interval)
        beside = tuple(build_subscription(each, fields) for each in parts.beside)
        yield StateAnswer(key, state=state, beside=beside, unsure=fields.get_unsure(), gone=parts.gone)


def _prefer_shown(assembled: dict[str, Any], shown: Mapping[str, Any], *, is_refuted: bool) -> dict[str, Any]:
    """The state with its objects as they were shown, but for what lists tell better unless they are refuted."""
    objects = index_objects(shown)

    def settle(kind: str, child: dict[str, Any], *parents: str) -> dict[str, Any]:
        seen = objects.get((kind, (*parents, str(child["id"]))))
        if seen is None or not is_same_version(child, seen):
            return child
        newer = {name: value for name, value in child.items() if kind == known.GRANT and is_of_benefit(name)}
        return {**seen, **({} if is_refuted else newer)}

    def settle_subscription(child: dict[str, Any]) -> dict[str, Any]:
        settled, meters = settle(known.SUBSCRIPTION, child), child.get("meters")
        if not isinstance(meters, list):
            return settled
        return {**settled, "meters": [settle(known.SUBSCRIPTION_METER, each, str(child["id"])) for each in meters]}

    return {
        **assembled,
        "active_subscriptions": [settle_subscription(each) for each in assembled["active_subscriptions"]],
        "granted_benefits": [settle(known.GRANT, each) for each in assembled["granted_benefits"]],
        "active_meters": [settle(known.METER, each) for each in assembled["active_meters"]],
    }


def _get_meters(shown: Mapping[UUID, Mapping[str, Any]]) -> frozenset[str]:
    """The meters that these states hold: an archived one is listed only where it is named."""
    objects = [
        item for state in shown.values() for place, item in index_objects(state).items() if place[0] == known.METER
    ]
    return frozenset(str(item["meter_id"]) for item in objects if item.get("meter_id"))
