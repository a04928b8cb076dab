"""The only writer of mirrored rows."""

from polar_sync.store.apply import apply
from polar_sync.store.catalogue import Found, apply_catalogue
from polar_sync.store.observations import (
    REPLICA_LAG,
    Observation,
    observe_absence,
    observe_assembled,
    observe_customer,
    observe_state,
)
from polar_sync.store.ordering import ObservationRecord, get_records
from polar_sync.store.results import ApplyResult, Change, ChangeKind, Outcome

__all__ = [
    "REPLICA_LAG",
    "ApplyResult",
    "Change",
    "ChangeKind",
    "Found",
    "Observation",
    "ObservationRecord",
    "Outcome",
    "apply",
    "apply_catalogue",
    "get_records",
    "observe_absence",
    "observe_assembled",
    "observe_customer",
    "observe_state",
]
