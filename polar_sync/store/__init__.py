"""The only writer of mirrored rows."""

from polar_sync.store.apply import apply
from polar_sync.store.catalogue import Found, apply_catalogue
from polar_sync.store.changes import ApplyResult, Change, ChangeKind, Outcome
from polar_sync.store.observations import (
    REPLICA_LAG,
    Observation,
    observe_absence,
    observe_assembled,
    observe_customer,
    observe_state,
)
from polar_sync.store.sightings import Sighting, read_sightings

__all__ = [
    "REPLICA_LAG",
    "ApplyResult",
    "Change",
    "ChangeKind",
    "Found",
    "Observation",
    "Outcome",
    "Sighting",
    "apply",
    "apply_catalogue",
    "observe_absence",
    "observe_assembled",
    "observe_customer",
    "observe_state",
    "read_sightings",
]
