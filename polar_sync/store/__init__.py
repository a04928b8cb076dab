"""The only writer of mirrored rows."""

from polar_sync.store.apply import apply
from polar_sync.store.changes import ApplyResult, Change, ChangeKind, Outcome
from polar_sync.store.observations import (
    Observation,
    observe_absence,
    observe_customer,
    observe_state,
)
from polar_sync.store.parents import Sighting

__all__ = [
    "ApplyResult",
    "Change",
    "ChangeKind",
    "Observation",
    "Outcome",
    "Sighting",
    "apply",
    "observe_absence",
    "observe_customer",
    "observe_state",
]
