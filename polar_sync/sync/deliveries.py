"""Deliveries of events: kept once each, and processed in batches, their effect and their status in one transaction."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError, router, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import OrganizationMismatchError, PayloadError, PolarSyncError
from polar_sync.models import Organization, WebhookDelivery, on_primary
from polar_sync.payloads.values import clean_text
from polar_sync.store.benefits import apply_benefit
from polar_sync.sync.connections import bind_organization
from polar_sync.sync.event_batch import Entry, Status, apply_events
from polar_sync.sync.events import Event, Handling, read_event, redact
from polar_sync.sync.pending_refreshes import Wanted, note_wanted
from polar_sync.sync.sources import get_last_fields

logger = logging.getLogger(__name__)

BATCH = 200
_MAX_ATTEMPTS = 10
_MESSAGE_SHARE = 50
"""Deliveries that one message to Celery can be for."""
_MESSAGE_LIFETIME = timedelta(seconds=2)
_BENEFIT_TYPES = ("benefit.created", "benefit.updated")
_COLUMNS = ["status", "reason", "attempts", "next_attempt_at", "processed_at"]


def get_organization_row(entry: OrganizationSettings) -> Organization:
    """The row of an organization of the settings, made where there is none yet."""
    row: Organization | None = on_primary(Organization.objects).filter(name=entry.name).first()
    # Not by `update_or_create` alone, which locks the row: each delivery would wait for the batch that is processed.
    if row is not None and row.server == entry.server:
        return row
    return Organization.objects.update_or_create(name=entry.name, defaults={"server": entry.server})[0]


def keep_delivery(
    organization: Organization, *, webhook_id: str, body: str, event: Event, via: str = WebhookDelivery.Via.WEBHOOK
) -> WebhookDelivery | None:
    """Keep an event for processing; None where it has been kept before."""
    try:
        with transaction.atomic(using=router.db_for_write(WebhookDelivery)):
            return WebhookDelivery.objects.create(
                organization=organization,
                webhook_id=webhook_id,
                type=event.type,
                timestamp=event.timestamp,
                customer_id=event.customer_id,
                payload=redact(body),
                via=via,
            )
    except IntegrityError:
        if not WebhookDelivery.objects.filter(organization=organization, webhook_id=webhook_id).exists():
            raise
        return None


def is_announced(delivery: WebhookDelivery) -> bool:
    """Whether Celery was told of an earlier delivery that still waits: whoever processes that one finds this one too.

    As this one is committed already, and the other one's processor looks for more once it has committed. A message that
    got lost concerns the next few deliveries, and those of the next two seconds, at most.
    """
    waiting = WebhookDelivery.objects.filter(
        organization_id=delivery.organization_id,
        status=Status.RECEIVED,
        next_attempt_at=None,
        via=WebhookDelivery.Via.WEBHOOK,
        received_at__gt=Now() - _MESSAGE_LIFETIME,
        pk__gte=delivery.pk - delivery.pk % _MESSAGE_SHARE,
        pk__lt=delivery.pk,
    )
    return waiting.exists()


def keep_deliveries(deliveries: Sequence[WebhookDelivery]) -> int:
    """Keep those that have not been kept before, of one organization; returns how many."""
    if not deliveries:
        return 0
    rows = WebhookDelivery.objects.filter(organization=deliveries[0].organization)
    known = set(
        rows.filter(webhook_id__in=[each.webhook_id for each in deliveries]).values_list("webhook_id", flat=True)
    )
    new = {each.webhook_id: each for each in deliveries if each.webhook_id not in known}
    WebhookDelivery.objects.bulk_create(new.values(), ignore_conflicts=True)  # another may have been quicker
    return len(new)


def process_deliveries(entry: OrganizationSettings, organization: Organization) -> int:
    """Process the next batch of what is due; returns how many deliveries it held, 0 where nothing is left."""
    if organization.polar_id is None:
        _learn_organization(entry, organization)
    using = router.db_for_write(WebhookDelivery)
    with transaction.atomic(using=using):
        # Whoever else works on deliveries takes others; those about the same customers wait for the locks of the store.
        rows = get_due(organization).select_for_update(skip_locked=True).order_by("pk")
        deliveries = list(rows[:BATCH])
        if deliveries:
            _process(deliveries, organization)
    for delivery in deliveries:
        if delivery.type in _BENEFIT_TYPES and delivery.status == Status.RECEIVED:
            _process_benefit(delivery, organization)
    return len(deliveries)


def get_due(organization: Organization) -> QuerySet[WebhookDelivery]:
    """Those that were received and may be processed now."""
    rows = WebhookDelivery.objects.filter(organization=organization, status=Status.RECEIVED)
    return rows.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=Now()))


def _process(deliveries: Sequence[WebhookDelivery], organization: Organization) -> None:
    readable: dict[WebhookDelivery, Event] = {}
    for delivery in deliveries:
        delivery.next_attempt_at = None
        try:
            readable[delivery] = read_event(delivery.payload)
        except PayloadError as error:
            _end(delivery, Status.FAILED, str(error))
    groups = [readable]
    while groups:
        some = groups.pop()
        try:
            with transaction.atomic(using=router.db_for_write(WebhookDelivery)):
                _apply(some, organization)
        except (OperationalError, InterfaceError):
            raise  # of the database, which says nothing of any delivery
        except Exception as error:  # noqa: BLE001 - whatever it is, it keeps no other customer waiting
            by_customer = _split(some)
            if len(by_customer) > 1:
                groups += by_customer
            else:
                _note_error(some, error, organization)
    _write_outcomes(deliveries)


def _write_outcomes(deliveries: Iterable[WebhookDelivery]) -> None:
    """A statement for each outcome, of which there are few; one for all would hold a condition for every row."""
    groups: defaultdict[tuple[Any, ...], list[WebhookDelivery]] = defaultdict(list)
    for each in deliveries:
        groups[each.status, each.reason, each.attempts, each.next_attempt_at].append(each)
    for (status, reason, attempts, next_attempt_at), some in groups.items():
        WebhookDelivery.objects.filter(pk__in=[each.pk for each in some]).update(
            status=status,
            reason=reason,
            attempts=attempts,
            next_attempt_at=next_attempt_at,
            processed_at=some[-1].processed_at,
        )


def _learn_organization(entry: OrganizationSettings, organization: Organization) -> None:
    """An organization that no run has been over yet is known from the first events that show something of it.

    In a transaction of its own: whoever inserts customers waits for the row of their organization.
    """
    organization.refresh_from_db(fields=["polar_id"])  # a run may have learned it since
    if organization.polar_id is not None:
        return
    waiting = get_due(organization).order_by("pk").values_list("payload", flat=True)
    events = [event for event in map(_read, waiting[:BATCH]) if event is not None]
    every = [item for event in events for item in (event.data, event.data.get("customer"))]
    shown = [item for item in every if isinstance(item, dict) and "organization_id" in item]
    expected = str(entry.organization_id) if entry.organization_id else None
    try:
        bind_organization(organization, shown, expected=expected)
    except PolarSyncError as error:
        logger.warning("Deliveries for %s: %s", organization, error)


def _read(payload: str) -> Event | None:
    try:
        return read_event(payload)
    except PayloadError:
        return None


def _split(events: Mapping[WebhookDelivery, Event]) -> list[dict[WebhookDelivery, Event]]:
    by_customer: defaultdict[UUID | None, dict[WebhookDelivery, Event]] = defaultdict(dict)
    for delivery, event in events.items():
        by_customer[event.customer_id][delivery] = event
    # Popped from the end: customers are locked in the order of ids, as everybody does.
    return [by_customer[key] for key in sorted(by_customer, key=str, reverse=True)]


def _apply(events: Mapping[WebhookDelivery, Event], organization: Organization) -> None:
    entries = {delivery: Entry(event) for delivery, event in events.items()}
    apply_events(list(entries.values()), organization=organization, fields=get_last_fields(organization))
    for delivery, entry in entries.items():
        if entry.event.handling is Handling.BENEFIT:
            # Processed after this transaction, and by nobody else meanwhile unless this process dies.
            delivery.next_attempt_at = timezone.now() + timedelta(seconds=settings.lease_seconds)
        else:
            _end(delivery, entry.status, entry.reason)


def _note_error(deliveries: Iterable[WebhookDelivery], error: Exception, organization: Organization) -> None:
    """Try again later, and later, up to ten times; not at all where that cannot help."""
    # What a database says of a row can hold the row.
    reason = f"{type(error).__name__}: {error}" if isinstance(error, PolarSyncError) else type(error).__name__
    is_another = isinstance(error, OrganizationMismatchError) and organization.polar_id is not None
    now = timezone.now()
    for delivery in deliveries:
        attempts = delivery.attempts + 1
        if attempts >= _MAX_ATTEMPTS or is_another or isinstance(error, PayloadError):
            _end(delivery, Status.FAILED, reason)
            logger.error("Delivery %s has failed: %s", delivery.webhook_id, reason)
            if delivery.customer_id is not None and not is_another:
                wanted = Wanted(delivery.timestamp, now, "An event could not be processed.")
                note_wanted({delivery.customer_id: wanted}, {}, organization=organization)
            continue
        delivery.attempts, delivery.reason = attempts, clean_text(reason)
        delivery.next_attempt_at = now + timedelta(seconds=2**attempts)
        logger.warning("Delivery %s is tried again: %s", delivery.webhook_id, reason)


def _end(delivery: WebhookDelivery, status: str, reason: str) -> None:
    delivery.status, delivery.reason = status, clean_text(reason)
    delivery.attempts += 1
    delivery.processed_at = timezone.now()


def _process_benefit(delivery: WebhookDelivery, organization: Organization) -> None:
    """Of a benefit that many were granted, in transactions of its own, so that nobody waits for all of them."""
    try:
        event = read_event(delivery.payload)
        written = apply_benefit(event.data, reported_at=event.timestamp, organization=organization)
        delivery.next_attempt_at = None
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        _note_error([delivery], error, organization)
    else:
        if written is None:
            _end(delivery, Status.STALE, "What is mirrored of the benefit is newer.")
        else:
            _end(delivery, Status.PROCESSED, f"{written} grants of it changed.")
    delivery.save(update_fields=_COLUMNS)


def process_again(deliveries: QuerySet[WebhookDelivery]) -> int:
    """Have these processed anew, in the caller's transaction; without those of which nothing is kept any more."""
    kept = deliveries.exclude(payload="").filter(scrubbed_at=None)
    return kept.update(status=Status.RECEIVED, reason="", attempts=0, next_attempt_at=None, processed_at=None)
