"""One run over an organization, page by page; one customer on demand."""

from polar_sync.sync.connections import Connection, connect, get_worker_connection
from polar_sync.sync.deliveries import (
    get_organization_row,
    is_announced,
    keep_delivery,
    process_again,
    process_deliveries,
)
from polar_sync.sync.dry_run import DryRun
from polar_sync.sync.endpoints import note_endpoint
from polar_sync.sync.events import Event, read_event
from polar_sync.sync.follow import (
    ask_all_due,
    begin_needed_run,
    follow,
    get_run_delay,
    has_webhooks,
    needs_run,
    process_all,
)
from polar_sync.sync.refresh import refresh_customer, refresh_external
from polar_sync.sync.runs import begin_run, drop_lost_connection, finish_run, let_go
from polar_sync.sync.steps import Progress, Step, take_step, work_in_foreground

__all__ = [
    "Connection",
    "DryRun",
    "Event",
    "Progress",
    "Step",
    "ask_all_due",
    "begin_needed_run",
    "begin_run",
    "connect",
    "drop_lost_connection",
    "finish_run",
    "follow",
    "get_organization_row",
    "get_run_delay",
    "get_worker_connection",
    "has_webhooks",
    "is_announced",
    "keep_delivery",
    "let_go",
    "needs_run",
    "note_endpoint",
    "process_again",
    "process_all",
    "process_deliveries",
    "read_event",
    "refresh_customer",
    "refresh_external",
    "take_step",
    "work_in_foreground",
]
