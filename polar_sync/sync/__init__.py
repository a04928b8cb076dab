"""One run over an organization, page by page; one customer on demand."""

from polar_sync.sync.connections import Connection, connect, get_worker_connection
from polar_sync.sync.dry_run import DryRun
from polar_sync.sync.refresh import refresh_customer, refresh_external
from polar_sync.sync.runs import begin_run, drop_lost_connection, finish_run, let_go
from polar_sync.sync.steps import Progress, Step, take_step, work_in_foreground

__all__ = [
    "Connection",
    "DryRun",
    "Progress",
    "Step",
    "begin_run",
    "connect",
    "drop_lost_connection",
    "finish_run",
    "get_worker_connection",
    "let_go",
    "refresh_customer",
    "refresh_external",
    "take_step",
    "work_in_foreground",
]
