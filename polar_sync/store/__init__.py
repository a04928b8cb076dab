"""The only writer of mirrored rows."""

from polar_sync.store.apply import apply, lock_customers
from polar_sync.store.catalogue import Found, apply_catalogue
from polar_sync.store.observations import (
    EVENT_AGE,
    REPLICA_LAG,
    Observation,
    observe_absence,
    observe_assembled,
    observe_customer,
    observe_reported_customer,
    observe_reported_state,
    observe_state,
)
from polar_sync.store.ordering import ObservationRecord, get_records
from polar_sync.store.reports import ReportedObject, Verdict, apply_reports
from polar_sync.store.results import ApplyResult, Change, ChangeKind, Outcome

__all__ = [
    "EVENT_AGE",
    "REPLICA_LAG",
    "ApplyResult",
    "Change",
    "ChangeKind",
    "Found",
    "Observation",
    "ObservationRecord",
    "Outcome",
    "ReportedObject",
    "Verdict",
    "apply",
    "apply_catalogue",
    "apply_reports",
    "get_records",
    "lock_customers",
    "observe_absence",
    "observe_assembled",
    "observe_customer",
    "observe_reported_customer",
    "observe_reported_state",
    "observe_state",
]
