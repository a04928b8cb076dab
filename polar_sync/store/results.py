"""What an application of observations came to, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from polar_sync.store.ordering import ObservationRecord


class Outcome(StrEnum):
    """What became of one customer. `STALE`: everything observed was older than what is stored."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    STALE = "stale"
    DELETED = "deleted"


class ChangeKind(StrEnum):
    """What happened to one mirrored object; `MOVED` is a child that went to another customer."""

    CREATED = "created"
    UPDATED = "updated"
    MOVED = "moved"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One mirrored object before and after, as canonical JSON text; None where it did not exist.

    `model` is the model's name in lower case, such as `subscription`.
    """

    kind: ChangeKind
    model: str
    id: UUID
    customer_id: UUID
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The outcome of each customer by id, all changes, and what was known of each customer before.

    `unresolved` are customers of whom nothing tells whether what they were observed to have is later than what is
    stored, each with what is stored now. They are in neither of the others and are not marked as seen: ask the lists
    about them, and apply the answer as one that `follows` this.
    """

    outcomes: Mapping[UUID, Outcome]
    changes: tuple[Change, ...]
    records: Mapping[UUID, ObservationRecord]
    unresolved: Mapping[UUID, ObservationRecord] = field(default_factory=dict)
