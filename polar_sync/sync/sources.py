"""Which source a run gets its states from, and what the run remembers of it.

`STATE_SOURCE` says: "batched" from lists of many customers, "per_customer" from the state endpoint, "auto" from the
lists where they are open to the token and show all that a state shows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from django.db.models import Count, Value

from polar_sync.conf import settings
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.models import CustomerObservation, SyncRun
from polar_sync.states import BatchedSource, Sizes, StateFields, StateSource
from polar_sync.sync.connections import Connection

logger = logging.getLogger(__name__)

# What a run's `source` can be; `STATE_SOURCE` can be "auto" too.
BATCHED, PER_CUSTOMER = SyncRun.Source.BATCHED, SyncRun.Source.PER_CUSTOMER
_CHILDREN = {"subscriptions": "subscriptions", "grants": "benefit_grants", "meters": "meters"}


def open_source(run: SyncRun, connection: Connection, customers: Collection[UUID]) -> StateSource:
    """The source for the states of these customers; a run that fell back stays with what it fell back to."""
    if not is_batched(run):
        _note_source(run, PER_CUSTOMER)
        return connection.per_customer
    _note_source(run, BATCHED)
    return BatchedSource(
        client=connection.client,
        executor=connection.executor,
        per_customer=connection.per_customer,
        densities=connection.densities,
        catalogue=connection.catalogue,
        leftovers=connection.leftovers,
        fields=StateFields.load(run.state_fields),
        sizes=_count_rows(customers),
        is_exact=settings.state_source == "auto",
    )


def _count_rows(customers: Collection[UUID]) -> Sizes:
    """How many rows those who were mirrored before have in each table: one statement, for as much fuller answers."""
    if not customers:
        return {}
    observed = CustomerObservation.objects.filter(pk__in=customers).exclude(state_observed_at=None)
    counts = [
        observed.annotate(kind=Value(kind), rows=Count(f"customer__{children}")).values_list("kind", "pk", "rows")
        for kind, children in _CHILDREN.items()
    ]
    sizes: dict[str, dict[UUID, int]] = {kind: {} for kind in _CHILDREN}
    for kind, customer_id, rows in counts[0].union(*counts[1:], all=True):
        sizes[kind][customer_id] = rows
    return sizes


def is_batched(run: SyncRun) -> bool:
    """Whether the next states of this run come from lists."""
    wanted = settings.state_source
    return wanted == BATCHED or (wanted == "auto" and run.source != PER_CUSTOMER)


def must_fall_back(run: SyncRun, obstacle: PolarSyncError | None) -> bool:
    """Whether the lists are closed to the token and the state endpoint is to be asked instead, noting so once."""
    if not isinstance(obstacle, MissingScopeError) or settings.state_source != "auto" or run.source != BATCHED:
        return False
    _fall_back(run, f"The token lacks a scope for the lists ({', '.join(obstacle.scopes) or obstacle.path}).")
    return True


def note_fields(run: SyncRun, source: StateSource) -> None:
    """Keep with the run what its source learned of the fields of a state, for the other workers too."""
    if not isinstance(source, BatchedSource) or source.fields.dump() == run.state_fields:
        return
    run.state_fields = source.fields.dump()
    SyncRun.objects.filter(pk=run.pk).update(state_fields=run.state_fields)
    if source.is_exact and source.fields.state_only and run.source == BATCHED:
        names = sorted({name for names in source.fields.state_only.values() for name in names})
        _fall_back(run, f"States have fields that the lists lack ({', '.join(names)}).")


def _note_source(run: SyncRun, source: str) -> None:
    if run.source != source:
        run.source = source
        SyncRun.objects.filter(pk=run.pk).update(source=source)


def _fall_back(run: SyncRun, why: str) -> None:
    note = f"{why} States are asked for one by one."
    if SyncRun.objects.filter(pk=run.pk).exclude(source=PER_CUSTOMER).update(source=PER_CUSTOMER, source_note=note):
        logger.warning("Run %s: %s", run.pk, note)
    run.source, run.source_note = PER_CUSTOMER, note
