"""Which source a run gets its states from, and what the run remembers of it.

`STATE_SOURCE` says: "batched" from lists of many customers, "per_customer" from the state endpoint, "auto" from the
lists where they are open to the token and show all that a state shows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Value

from polar_sync.client import ListPage
from polar_sync.conf import settings
from polar_sync.exceptions import MissingScopeError, PolarSyncError
from polar_sync.models import (
    CustomerObservation,
    Meter,
    MeterDefinition,
    Organization,
    SyncRun,
    on_primary,
)
from polar_sync.models.tables import get_state_tables
from polar_sync.payloads import METER
from polar_sync.payloads.values import clean_text
from polar_sync.states import BatchedSource, Knowledge, Mirrored, StateSource, wait_for
from polar_sync.states.fields import StateFields
from polar_sync.sync.connections import Connection

logger = logging.getLogger(__name__)

# What a run's `source` can be; `STATE_SOURCE` can be "auto" too.
BATCHED, PER_CUSTOMER = SyncRun.Source.BATCHED, SyncRun.Source.PER_CUSTOMER
_MAX_PAGES = 100
"""Ten thousand products; an organization with more gets their names beside its subscriptions."""


def open_source(run: SyncRun, connection: Connection, customers: Collection[UUID]) -> StateSource:
    """The source for the states of these customers; a run that fell back stays with what it fell back to."""
    while not _note_source(run, BATCHED if is_batched(run) else PER_CUSTOMER):
        pass
    if run.source == PER_CUSTOMER:
        return connection.per_customer
    return BatchedSource(
        client=connection.client,
        executor=connection.executor,
        per_customer=connection.per_customer,
        estimates=connection.estimates,
        organization_id=connection.organization_id,
        is_exact=settings.state_source == "auto",
        knowledge=Knowledge.load(run.state_fields),
        catalogue=connection.catalogue,
        partial_results=connection.partial_results,
        mirrored=get_mirrored(customers),
        mirrored_archived=partial(_get_archived, run.organization),
    )


def get_mirrored(customers: Collection[UUID]) -> Mirrored:
    """What those who were mirrored before have: two statements, for as much fuller answers and to miss no meter."""
    if not customers:
        return Mirrored()
    observed = on_primary(CustomerObservation.objects).filter(pk__in=customers).exclude(state_observed_at=None)
    tables = [table for table in get_state_tables() if table.kind is not METER]  # whose rows are read below
    counts = [observed.annotate(kind=Value(table.name), rows=Count(f"customer__{table.accessor}")) for table in tables]
    numbers = [count.values_list("kind", "pk", "rows") for count in counts]
    rows: dict[str, dict[UUID, int]] = {table.name: {} for table in get_state_tables()}
    for kind, customer_id, number in numbers[0].union(*numbers[1:], all=True):
        rows[kind][customer_id] = number
        rows[METER.name][customer_id] = 0
    meters: dict[UUID, dict[UUID, UUID]] = {}
    stored = on_primary(Meter.objects).filter(customer__in=rows[METER.name]).exclude(meter_id=None).order_by()
    for key, customer_id, meter_id in stored.values_list("pk", "customer_id", "meter_id"):
        rows[METER.name][customer_id] += 1
        meters.setdefault(customer_id, {})[key] = meter_id
    return Mirrored(rows, meters)


def _get_archived(organization: Organization) -> set[str]:
    """The meters of customers that are archived or were never shown by a list, as archived ones are not."""
    archived = on_primary(MeterDefinition.objects).filter(organization_id=organization.polar_id, is_archived=True)
    unlisted = on_primary(Meter.objects).filter(customer__organization_id=organization.polar_id).order_by()
    unlisted = unlisted.exclude(meter_id=None).exclude(Exists(MeterDefinition.objects.filter(pk=OuterRef("meter_id"))))
    ids = {*archived.values_list("pk", flat=True), *unlisted.values_list("meter_id", flat=True).distinct()}
    return {str(each) for each in ids}


def get_knowledge(run: SyncRun) -> Knowledge:
    """What the run has learned so far, as it is kept with it."""
    return Knowledge.load(run.state_fields)


def are_lists_trusted(organization: Organization) -> bool:
    """Whether states may be put together from lists, as the settings and the last run have it."""
    return settings.state_source != PER_CUSTOMER and not _load_last_knowledge(organization).refutation


def get_last_fields(organization: Organization) -> StateFields:
    """Which fields a state has, as far as the last run over an organization that asked the lists has learned that."""
    return _load_last_knowledge(organization).fields


def _load_last_knowledge(organization: Organization) -> Knowledge:
    runs = SyncRun.objects.filter(organization=organization).exclude(state_fields={}).order_by("-pk")
    return Knowledge.load(runs.values_list("state_fields", flat=True).first() or {})


def get_last_knowledge(organization: Organization) -> Knowledge:
    """What the last run over an organization that asked the lists has learned of them."""
    knowledge = _load_last_knowledge(organization)
    if knowledge.archived is None:
        knowledge.archived = frozenset(_get_archived(organization))
    return knowledge


def is_batched(run: SyncRun) -> bool:
    """Whether the next states of this run come from lists."""
    wanted = settings.state_source
    if Knowledge.load(run.state_fields).refutation:
        return False
    return wanted == BATCHED or (wanted == "auto" and run.source != PER_CUSTOMER)


def must_fall_back(run: SyncRun, stopping_error: PolarSyncError | None) -> bool:
    """Whether the lists are closed to the token and the state endpoint is to be asked instead, noting so once."""
    if not isinstance(stopping_error, MissingScopeError) or settings.state_source != "auto" or run.source != BATCHED:
        return False
    _fall_back(
        run, f"The token lacks a scope for the lists ({', '.join(stopping_error.scopes) or stopping_error.path})."
    )
    return True


def note_knowledge(run: SyncRun, source: StateSource) -> None:
    """Keep with the run what its source learned, for the other workers too, together with what these have learned."""
    if not isinstance(source, BatchedSource) or source.knowledge.dump() == run.state_fields:
        return
    runs = SyncRun.objects.all()
    with transaction.atomic(using=runs.db):
        # A dry run has no row: its knowledge is its own.
        kept = runs.select_for_update().filter(pk=run.pk).values_list("state_fields", flat=True).first()
        source.knowledge.merge(Knowledge.load(kept or {}))
        run.state_fields = source.knowledge.dump()
        runs.filter(pk=run.pk).update(state_fields=run.state_fields)
    if source.refutation and run.source == BATCHED:
        _fall_back(run, source.refutation)


def _note_source(run: SyncRun, source: str) -> bool:
    """Note the source with the run, unless another worker has noted one since ours was read: then ours is read anew."""
    if run.source == source:
        return True
    hit = SyncRun.objects.filter(pk=run.pk, source=run.source).update(source=source)
    if hit or run.pk is None:  # a dry run has no row
        run.source = source
        return True
    run.refresh_from_db(fields=["source", "source_note", "state_fields"])
    return False


def _fall_back(run: SyncRun, why: str) -> None:
    note = clean_text(f"{why} States are asked for one by one.")
    if SyncRun.objects.filter(pk=run.pk).exclude(source=PER_CUSTOMER).update(source=PER_CUSTOMER, source_note=note):
        logger.warning("Run %s: %s", run.pk, note)
    run.source, run.source_note = PER_CUSTOMER, note


def read_catalogue(connection: Connection, *, on_tick: Callable[[], None]) -> None:
    """Read the three catalogues, each as far as the token may. Names are a courtesy: no failure here ends a run."""
    client = connection.client
    lists: dict[str, Callable[..., ListPage]] = {
        "product": client.products.list,
        "benefit": client.benefits.list,
        "meterdefinition": client.meters.list,
    }
    futures = {
        model: connection.executor.submit(_read_all, list_page, connection.organization_id)
        for model, list_page in lists.items()
        if model in connection.catalogue.unread
    }
    for model, future in futures.items():
        try:
            entries = wait_for(future, on_tick=on_tick)
        except MissingScopeError as error:
            logger.warning("No names of any %s: the token lacks %s", model, " or ".join(error.scopes) or "a scope")
        except PolarSyncError as error:
            logger.warning("No names of any %s for now: %s", model, error)
            if not error.permanent:  # the next claim of the page asks again
                continue
        else:
            connection.catalogue.add_entries(model, entries)
        connection.catalogue.unread.discard(model)


def _read_all(list_page: Callable[..., ListPage], organization_id: str | None) -> list[Any]:
    entries: list[Any] = []
    for number in range(1, _MAX_PAGES + 1):
        page = list_page(organization_id=organization_id, page=number)
        entries += page.items
        if number >= page.max_page:
            break
    return entries
