"""What a run has learned of Polar's lists and states so far; all of its workers add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polar_sync.payloads.values import clean_text
from polar_sync.states.fields import StateFields
from polar_sync.states.names import escape, unescape

MAX_SAMPLES = 10
"""Samples of one trait; where none of them could confirm it, whoever has it is asked for one by one."""
ACTIVE, BY_STATUS = "active", "status"
"""The two ways of counting the subscriptions that states hold."""


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
