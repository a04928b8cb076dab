"""A few real states beside what lists hold of the same customers: what they prove is believed, and no more.

That finds what differs systematically, between all that have a trait in common; one false row it cannot find.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.exceptions import PayloadError, PolarSyncError
from polar_sync.payloads import CUSTOMER, METER, STATE_AGE, Kind, read_state
from polar_sync.payloads.kinds import get_child_kinds, get_nested_kinds, get_state_kinds
from polar_sync.states.assembly import CustomerParts, assemble_whole
from polar_sync.states.comparison import (
    ABSENT,
    Difference,
    Key,
    Verdict,
    compare,
    find_equal,
    find_repeated,
    get_version,
    index_objects,
    is_readable,
    is_same_version,
)
from polar_sync.states.reader import ListReader
from polar_sync.states.rules import ARCHIVED, MAX_SAMPLES, Knowledge
from polar_sync.states.source import StateAnswer, StateSource, stops_fetching

_MAX_TEXT = 60
_MAX_NAMED = 3
"""Differences that a note names."""


def iterate_traits(item: Mapping[str, Any], parts: CustomerParts) -> Iterator[tuple[str, str, Mapping[str, Any], Key]]:
    """Each object of a customer: its kind, its trait, itself as far as lists show it, and its key.

    A trait is a kind and what Polar tells apart in it: types of customers and benefits, statuses of subscriptions,
    archived meters.
    """
    yield CUSTOMER.name, _name(CUSTOMER, item), item, (CUSTOMER.name, (str(item.get("id")),))
    archived = {id(each) for each in parts.archived}
    for kind in get_state_kinds():
        for each in parts.get_listed(kind):
            shown, key = kind.from_item(each), str(each["id"])
            trait = f"{kind.name}:{ARCHIVED}" if id(each) in archived else _name(kind, shown)
            yield kind.name, trait, shown, (kind.name, (key,))
            for nested in get_nested_kinds(kind):
                held = each.get(nested.array)
                for inner in held if isinstance(held, list) else ():
                    if isinstance(inner, dict):
                        yield nested.name, _name(nested, inner), inner, (nested.name, (key, str(inner.get("id"))))


def find_open_traits(
    item: Mapping[str, Any], parts: CustomerParts, *, confirmed: Container[str], seen: Mapping[str, frozenset[str]]
) -> set[str]:
    """The traits that no real state has confirmed yet, and the names of fields, by kind, that none has `seen`."""
    found: set[str] = set()
    for kind, trait, each, _ in iterate_traits(item, parts):
        if trait not in confirmed:
            found.add(trait)
        if not each.keys() <= seen[kind]:
            found.update(f"{kind}.{name[:_MAX_TEXT]}" for name in each.keys() - seen[kind])
    return found


def find_settled_traits(item: Mapping[str, Any], parts: CustomerParts, *, before: datetime) -> set[str]:
    """The traits of objects that have not changed since: a state that Polar stored an hour ago shows them alike."""
    return {
        trait
        for _, trait, each, _ in iterate_traits(item, parts)
        if (version := get_version(each)) is not None and version <= before
    }


def _name(kind: Kind, shown: Mapping[str, Any]) -> str:
    value = shown.get(kind.trait) if kind.trait else None
    return f"{kind.name}:{value[:_MAX_TEXT]}" if isinstance(value, str) else kind.name


@dataclass(frozen=True, slots=True)
class Sample:
    """A customer's own state beside what lists hold of it."""

    id: UUID
    item: Mapping[str, Any]
    parts: CustomerParts
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
            if any(each.kind == CUSTOMER.name for each in first.doubts):
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
    meters = {str(shown[each.key].get("meter_id")) for each in only_shown if each.kind == METER.name}
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


class Sampling:
    """Takes samples of customers until every trait of them is confirmed, or cannot be.

    `answers` are then what the state endpoint said of the samples, `stopping_error` is what keeps others from being
    sampled now. A contradiction is noted in the knowledge.
    """

    def __init__(
        self,
        reader: ListReader,
        states: StateSource,
        *,
        items: Mapping[UUID, Mapping[str, Any]],
        parts: Mapping[UUID, CustomerParts],
    ) -> None:
        self.answers: dict[UUID, StateAnswer] = {}
        self.stopping_error: PolarSyncError | None = None
        self._judge = Judge(reader)
        self._states = states
        self._items = items
        self._parts = parts
        self._tried: set[UUID] = set()
        self._failures = 0

    @property
    def _knowledge(self) -> Knowledge:
        return self._judge.knowledge

    def run(self, on_tick: Callable[[], None]) -> None:
        """Take samples, in rounds: whatever one of them could not show, others may."""
        while self.stopping_error is None and not self._knowledge.refutation:
            chosen = self._choose()
            if not chosen:
                return
            samples: list[Sample] = []
            for answer in self._states.fetch({key: self._items[key] for key in chosen}, on_tick=on_tick):
                self.answers[answer.id] = answer
                samples += self._take(answer)
            self._judge_all(samples, chosen, on_tick)

    def find_open(self) -> dict[UUID, set[str]]:
        """The traits of each customer that are not confirmed; without customers who have none such."""
        confirmed = self._knowledge.confirmed
        seen = {
            kind: self._knowledge.fields.get_seen(kind)
            for kind in [CUSTOMER.name, *(each.name for each in get_child_kinds())]
        }
        found = {
            key: find_open_traits(self._items[key], parts, confirmed=confirmed, seen=seen)
            for key, parts in self._parts.items()
        }
        return {key: traits for key, traits in found.items() if traits}

    def _choose(self) -> list[UUID]:
        """The customers, as few as will do, that have between them all that can still be confirmed."""
        having = {key: traits for key, traits in self.find_open().items() if key not in self._tried}
        missing = {trait for traits in having.values() for trait in traits if not self._knowledge.is_exhausted(trait)}
        settled = {key: self._find_settled(key) & missing for key in having} if missing else {}
        chosen: list[UUID] = []
        while missing and having:
            best = max(having, key=lambda key: self._rank(settled[key], having[key], missing))
            if not having[best] & missing:
                break
            chosen.append(best)
            missing -= having.pop(best)
        self._tried.update(chosen)
        return chosen

    def _rank(self, settled: set[str], having: set[str], missing: set[str]) -> tuple[int, int]:
        """What has changed within the hour proves little."""
        return len(settled & missing), len(having & missing)

    def _find_settled(self, key: UUID) -> set[str]:
        parts = self._parts[key]
        return find_settled_traits(self._items[key], parts, before=parts.interval.start - STATE_AGE)

    def _take(self, answer: StateAnswer) -> list[Sample]:
        """The sample, if it can be one; another takes its place where it cannot, for whatever reason."""
        state, error = answer.state, answer.error
        if stops_fetching(error):
            self.stopping_error = error
        elif error is not None and not error.permanent:
            self._failures += 1
            if self._failures >= MAX_SAMPLES:  # what ails all of them says nothing about any trait
                self.stopping_error = error
        if state is None:
            return []
        sample = Sample(answer.id, self._items[answer.id], self._parts[answer.id], state)
        with suppress(PayloadError):
            read_state(sample.told)
            if read_state(state).customer.id == answer.id:
                return [sample]
        return []

    def _judge_all(self, samples: Sequence[Sample], chosen: Sequence[UUID], on_tick: Callable[[], None]) -> None:
        try:
            self._judge.judge(samples, on_tick=on_tick)
        except PolarSyncError as error:
            self.stopping_error = self.stopping_error or (error if stops_fetching(error) else None)
        still_open = self.find_open()
        tries = self._knowledge.tries
        for key in chosen:
            if self._is_to_be_tried_again(key):
                continue
            for trait in still_open.get(key, ()):
                tries[trait] = tries.get(trait, 0) + 1

    def _is_to_be_tried_again(self, key: UUID) -> bool:
        answer = self.answers.get(key)
        return answer is None or (answer.error is not None and not answer.error.permanent)
