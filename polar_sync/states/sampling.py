"""A few real states beside what lists hold of the same customers: an assembled state is believed as far as these go.

That finds what differs systematically, between all that have a trait in common; one false row it cannot find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from polar_sync.exceptions import PayloadError, PolarSyncError
from polar_sync.payloads import STATE_AGE, read_state
from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts
from polar_sync.states.judging import Judge, Sample
from polar_sync.states.knowledge import MAX_SAMPLES, Knowledge
from polar_sync.states.reader import ListReader
from polar_sync.states.source import StateAnswer, StateSource, is_hopeless
from polar_sync.states.traits import find_open_traits, find_settled_traits

_KINDS = (known.CUSTOMER, *known.CONTRACT)


class Sampling:
    """Takes samples of customers until every trait of them is confirmed, or cannot be.

    `answers` are then what the state endpoint said of the samples, `obstacle` is what keeps others from being sampled
    now. A contradiction is noted in the knowledge.
    """

    def __init__(
        self,
        reader: ListReader,
        states: StateSource,
        *,
        items: Mapping[UUID, Mapping[str, Any]],
        parts: Mapping[UUID, Parts],
    ) -> None:
        self.answers: dict[UUID, StateAnswer] = {}
        self.obstacle: PolarSyncError | None = None
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
        while self.obstacle is None and not self._knowledge.refutation:
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
        seen = {kind: self._knowledge.fields.get_seen(kind) for kind in _KINDS}
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
        if is_hopeless(error):
            self.obstacle = error
        elif error is not None and not error.permanent:
            self._failures += 1
            if self._failures >= MAX_SAMPLES:  # what ails all of them says nothing about any trait
                self.obstacle = error
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
            self.obstacle = self.obstacle or (error if is_hopeless(error) else None)
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
