"""What a benefit's change means for everybody who was granted it: Polar tells of it once, and of no customer.

A grant in a state shows its benefit's metadata, and neither the grant's version nor the customer's state moves with
them. https://polar.sh/docs/api-reference/webhooks/benefit.updated
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from polar_sync.models import Benefit, BenefitGrant, Customer, Organization
from polar_sync.models.tables import get_tables
from polar_sync.payloads import BENEFIT_GRANT, Interval, dump_canonical, is_equal, load_canonical, read_id
from polar_sync.payloads.objects import ChildPayload
from polar_sync.payloads.values import read_newest
from polar_sync.signals import announce_changes
from polar_sync.store.catalogue import apply_catalogue
from polar_sync.store.children import StoredChild
from polar_sync.store.customers import lock_observation_records
from polar_sync.store.observations import EVENT_AGE
from polar_sync.store.ordering import ObservationRecord, Reading, write_observation_records
from polar_sync.store.plans import Plan, write_plan
from polar_sync.store.results import ChangeKind

_BATCH = 500
_TABLE = next(table for table in get_tables() if table.kind is BENEFIT_GRANT)


def apply_benefit(benefit: Mapping[str, Any], *, reported_at: datetime, organization: Organization) -> int | None:
    """Bring every grant of a benefit to the metadata that it was reported with; how many, None where it is outdated.

    A transaction for every 500 grants: done again after it was broken off, it goes on. Raises `PayloadError`.
    """
    key = read_id(benefit, what="benefit")
    version = read_newest(benefit)
    if version is None or version < reported_at:
        # Polar can put the event together before it moves `modified_at`.
        version = reported_at
        benefit = {**benefit, "modified_at": reported_at.isoformat().replace("+00:00", "Z")}
    # First, so that whoever brings a grant in from now on knows it too.
    apply_catalogue({("benefit", str(key)): benefit}, organization=organization)
    metadata = benefit.get("metadata")
    written = 0
    using = router.db_for_write(BenefitGrant)
    last: UUID | None = None
    while isinstance(metadata, dict):
        with transaction.atomic(using=using):
            if _is_outdated(key, version, using=using):
                return None
            grants = BenefitGrant.objects.using(using).filter(benefit_id=key).order_by("pk")
            grants = grants.filter(pk__gt=last) if last is not None else grants
            rows = list(grants.values_list("pk", "customer_id")[:_BATCH])
            if not rows:
                break
            last = rows[-1][0]
            written += _write(rows, metadata, until=version, organization=organization, using=using)
    return written


def _is_outdated(key: UUID, version: datetime, *, using: str) -> bool:
    """Whether a newer version is known by now; if not, none becomes known before this transaction ends."""
    rows = Benefit.objects.using(using).select_for_update().filter(pk=key)
    payload = rows.values_list("payload", flat=True).first()
    known = read_newest(load_canonical(payload)) if payload else None
    return known is not None and known > version


def _write(
    grants: Sequence[tuple[UUID, UUID]],
    metadata: Mapping[str, Any],
    *,
    until: datetime,
    organization: Organization,
    using: str,
) -> int:
    records = lock_observation_records({customer_id for _, customer_id in grants}, using=using)
    rows = BenefitGrant.objects.using(using).filter(pk__in=[key for key, _ in grants])
    plan, extended = Plan(), dict[UUID, ObservationRecord]()
    for key, customer_id, payload in rows.values_list("pk", "customer_id", "payload"):
        record = records.get(customer_id)
        # Who was read well after the change has what came of it. An event of soon after may show what was before.
        if record is None or record.state is None or record.state.interval.start > until + EVENT_AGE:
            continue
        interval = record.state.interval.hull(Interval(record.state.interval.start, until))
        extended[customer_id] = record.with_state(Reading(interval, record.state.source))
        changed = dump_canonical({**load_canonical(payload), "benefit_metadata": metadata})
        if not is_equal(payload, changed, timestamps=BENEFIT_GRANT.timestamps):
            child = ChildPayload(key, customer_id, changed)
            row = StoredChild(key, customer_id, customer_id, payload)
            plan.add_write(ChangeKind.UPDATED, _TABLE, row.owner_id, child, row.payload)
    write_plan(plan, using=using)
    touched = {change.customer_id for change in plan.changes}
    Customer.all_objects.using(using).filter(pk__in=touched).update(synced_at=timezone.now())
    write_observation_records(extended, using=using)
    announce_changes(plan.changes, organization=organization, using=using)
    return len(plan.changes)
