"""Samples judged: what a real state says of what the lists hold of the same customer, before it and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, assemble_whole
from polar_sync.states.comparison import (
    ABSENT,
    Difference,
    Verdict,
    compare,
    find_equal,
    find_repeated,
    index_objects,
    is_readable,
    is_same_version,
)
from polar_sync.states.knowledge import Knowledge
from polar_sync.states.reader import ListReader
from polar_sync.states.traits import iterate_traits

_MAX_NAMED = 3
"""Differences that a note names."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A customer's own state beside what lists hold of it."""

    id: UUID
    item: Mapping[str, Any]
    parts: Parts
    state: PolarObject
    differences: Sequence[Difference] = field(default=())

    @property
    def told(self) -> dict[str, Any]:
        """The state as the lists tell it, with every field that they have."""
        return assemble_whole(self.item, self.parts)

    @property
    def doubts(self) -> list[Difference]:
        """The contradictions, but for names that one side lacks: those are learned."""
        return [each for each in self.differences if each.verdict is Verdict.CONTRADICTION and not each.is_name]

    def compared(self, catalogue_times: Mapping[str, Any]) -> Sample:
        """The sample with its differences."""
        differences = compare(
            self.state,
            self.told,
            shown_in=self.state.interval,
            told_in=self.parts.interval,
            benefits=catalogue_times,
        )
        return replace(self, differences=differences)


class Judge:
    """Compares samples, has the lists read again for those that differ, and adds what they show to the knowledge."""

    def __init__(self, reader: ListReader) -> None:
        self._reader = reader

    @property
    def knowledge(self) -> Knowledge:
        """What the samples add to."""
        return self._reader.knowledge

    def judge(self, samples: Iterable[Sample], *, on_tick: Callable[[], None]) -> None:
        """Learn of these samples, or note the contradiction. Raises what keeps the lists from being read again."""
        times = self._reader.catalogue.get_benefit_times()
        compared = [sample.compared(times) for sample in samples]
        for sample in compared:
            if not sample.doubts:
                self._learn(sample)
        differing = [sample for sample in compared if sample.doubts]
        if differing:
            self._judge_again(differing, on_tick)

    def _judge_again(self, differing: Sequence[Sample], on_tick: Callable[[], None]) -> None:
        """Samples lie between two readings of the lists: what only the first had, a change in between explains."""
        again = self._reader.read([sample.id for sample in differing], on_tick=on_tick)
        times = self._reader.catalogue.get_benefit_times()
        for first in differing:
            if first.id not in again:
                continue
            item = first.item
            if any(each.kind == known.CUSTOMER for each in first.doubts):
                item = self._reader.read_customer(first.id, on_tick=on_tick)
            second = replace(first, item=item, parts=again[first.id])
            if not is_readable(second.told):
                continue
            second = second.compared(times)
            repeated = self._drop_ended(second, find_repeated(first.doubts, second.doubts), on_tick)
            if repeated:
                self.knowledge.contradiction = describe_contradiction(repeated)
                return
            self._learn(second)

    def _drop_ended(
        self, sample: Sample, repeated: Sequence[Difference], on_tick: Callable[[], None]
    ) -> list[Difference]:
        """Without the objects that only the state has and that have changed since: these are asked for themselves."""
        only_shown = [each for each in repeated if each.field is None and each.told is ABSENT]
        if not only_shown:
            return list(repeated)
        ended = find_ended(self._reader, sample.id, sample.state, only_shown, on_tick=on_tick)
        return [each for each in repeated if each not in ended]

    def _learn(self, sample: Sample) -> None:
        told = sample.told
        equal = find_equal(sample.state, told, sample.differences)
        ours, theirs = index_objects(told), index_objects(sample.state)
        for key in equal:
            self.knowledge.fields.learn(key[0], theirs[key], ours[key])
        traits = iterate_traits(sample.item, sample.parts)
        self.knowledge.confirmed.update(trait for _, trait, _, key in traits if key in equal)


def find_ended(
    reader: ListReader,
    customer_id: UUID,
    state: Mapping[str, Any],
    only_shown: Sequence[Difference],
    *,
    on_tick: Callable[[], None],
) -> list[Difference]:
    """Those of the objects that only a state has of which Polar's lists, asked for all they have, say otherwise."""
    shown = index_objects(state)
    meters = {str(shown[each.key].get("meter_id")) for each in only_shown if each.kind == known.METER}
    found = reader.read_unfiltered([customer_id], meters=meters, on_tick=on_tick)
    if customer_id not in found:
        return list(only_shown)  # nothing that could be said against it
    whole = assemble_whole({"id": str(customer_id)}, found[customer_id])
    if not is_readable(whole):
        return []
    listed = index_objects(whole)
    return [each for each in only_shown if each.key in listed and _has_ended(listed[each.key], shown[each.key])]


def _has_ended(listed: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    return not is_same_version(listed, shown) or listed.get("is_granted") is False


def describe_contradiction(differences: Sequence[Difference]) -> str:
    """What lists and states disagree about, for the run's record."""
    named = "; ".join(each.describe() for each in differences[:_MAX_NAMED])
    more = len(differences) - _MAX_NAMED
    return f"Lists contradict a state: {named}{f'; and {more} more' if more > 0 else ''}."
