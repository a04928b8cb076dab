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
from polar_sync.states.comparison import index_objects, is_same_version
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
    fields a state has is learned from these too, and which of its meters have to be named.
    """
    knowledge, fields = reader.knowledge, reader.knowledge.fields
    knowledge.archived = (knowledge.archived or frozenset()) | _get_meters(shown)
    inquiry = reader.inquire({key: Parts() for key in listed})
    inquiry.run(on_tick)
    complete = inquiry.get_complete()
    for key in complete & shown.keys():
        told = index_objects(assemble_whole(listed[key], inquiry.parts[key]))
        for place, seen in index_objects(shown[key]).items():
            if place in told and is_same_version(told[place], seen):
                fields.learn(place[0], seen, told[place])
    for key in listed:
        if key not in complete:
            yield StateAnswer(key, error=inquiry.errors.get(key) or inquiry.obstacle)
            continue
        parts = inquiry.parts[key]
        state = PolarObject(assemble(listed[key], parts, fields), interval=parts.interval)
        beside = tuple(build_subscription(each, fields) for each in parts.beside)
        yield StateAnswer(key, state=state, beside=beside, unsure=fields.get_unsure(), gone=parts.gone)


def _get_meters(shown: Mapping[UUID, Mapping[str, Any]]) -> frozenset[str]:
    """The meters that these states hold: an archived one is listed only where it is named."""
    objects = [
        item for state in shown.values() for place, item in index_objects(state).items() if place[0] == known.METER
    ]
    return frozenset(str(item["meter_id"]) for item in objects if item.get("meter_id"))
