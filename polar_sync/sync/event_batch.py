"""Events brought to the mirror together: what each customer's say, which of them holds, and whom Polar is asked about.

A state tells all that a customer has, a moment before its time; a snapshot of one object tells that object alone, and
exactly. Of several waiting states of a customer the newest is applied, unless an older one shows something newer: then,
and wherever times leave open which of two is the later, the lists decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from polar_sync.exceptions import PayloadError
from polar_sync.models import Organization, Subscription, WebhookDelivery, on_primary
from polar_sync.payloads.values import clean_text, read_newest, read_timestamp
from polar_sync.states.comparison import index_objects, is_readable
from polar_sync.states.fields import StateFields
from polar_sync.store import (
    EVENT_AGE,
    REPLICA_LAG,
    ApplyResult,
    Observation,
    ObservationRecord,
    Outcome,
    ReportedObject,
    Verdict,
    apply,
    apply_catalogue,
    apply_reports,
    get_records,
    lock_customers,
    observe_reported_customer,
    observe_reported_state,
)
from polar_sync.sync.events import Event, Handling, read_event, read_report
from polar_sync.sync.granted_metadata import renew_metadata
from polar_sync.sync.pending_refreshes import Wanted, note_wanted

STATE_PATIENCE = timedelta(minutes=1)
"""How long the state that follows a change is waited for before Polar is asked."""
LIST_PATIENCE = 2 * REPLICA_LAG
"""So long after an event the lists show what it told of, which Polar reads from a replica."""
_NAMES = {Handling.PRODUCT: "product", Handling.METER: "meterdefinition"}

Status = WebhookDelivery.Status


@dataclass(slots=True, eq=False)
class Entry:
    """An event, and what became of it."""

    event: Event
    status: str = Status.PROCESSED
    reason: str = ""
    observation: Observation | None = None
    report: ReportedObject | None = None

    def end(self, status: str, reason: str) -> None:
        self.status, self.reason = status, clean_text(reason)


@dataclass(slots=True)
class _CustomerEvents:
    """All events of a batch about one customer; `state` is the newest of the states, `older` are the others."""

    state: Entry | None = None
    older: list[Entry] = field(default_factory=list)
    own: list[Entry] = field(default_factory=list)
    reports: list[Entry] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    is_state_decisive: bool = False

    def add_state(self, entry: Entry) -> None:
        states = [each for each in (self.state, entry) if each is not None]
        *older, self.state = sorted(states, key=lambda each: each.event.timestamp)
        self.older += older

    def want(self, event: Event, since: datetime, reason: str, *, patience: timedelta = STATE_PATIENCE) -> None:
        """Have Polar asked so long after the event, at once where that has passed."""
        now = timezone.now()
        due_at = min(max(event.timestamp + patience, now), now + patience)
        self.wanted.append(Wanted(since, due_at, reason))

    def doubt(self, entry: Entry, reason: str) -> None:
        """Have Polar asked soon: only a state that was surely read after the event could answer it too."""
        entry.reason = clean_text(f"{reason} Polar is asked.")
        self.want(entry.event, entry.event.timestamp + EVENT_AGE, entry.reason, patience=LIST_PATIENCE)

    @property
    def is_gone(self) -> bool:
        """Whether one of the events says that the customer was deleted, which is final."""
        told = [*self.own, *([self.state] if self.state is not None else [])]
        return any(read_timestamp(each.event.data.get("deleted_at")) is not None for each in told)


def apply_events(entries: Sequence[Entry], *, organization: Organization, fields: StateFields) -> None:
    """Bring the mirror to what these events say, and note in each what became of it; in the caller's transaction.

    Raises `OrganizationMismatchError`, with nothing written, where one is about another organization's customer.
    """
    _apply_names(entries, organization=organization)
    renew_metadata([entry.event for entry in entries])
    customers = _group(entries, fields)
    for events in customers.values():
        _choose_state(events)
    early, late = _divide(customers.values())
    unreliable_fields = fields.get_unreliable_fields()

    observations = [entry.observation for entry in _iterate_observed(customers.values()) if entry.observation]
    # All of them first, in the order of ids, as everybody locks them.
    before = lock_customers(customers, observations, organization=organization)

    def report(some: Sequence[Entry]) -> None:
        reports = [each.report for each in some if each.report is not None]
        # Who came to be known after the others were locked must not be locked now.
        verdicts = {each: Verdict.UNKNOWN for each in reports if each.customer_id not in before}
        known = [each for each in reports if each.customer_id in before]
        verdicts |= apply_reports(known, organization=organization, unreliable_fields=unreliable_fields)
        _note_verdicts(some, verdicts, customers)

    report(early)
    result = apply(observations, organization=organization) if observations else ApplyResult({}, (), {}, {})
    after = get_records(customers) if observations else before
    for key, events in customers.items():
        _note_result(events, key, result, before=result.records.get(key), after=after.get(key))
    report([*late, *_find_unapplied(customers, before, fields, organization=organization)])
    _note_wanted(customers, organization=organization)


def _apply_names(entries: Iterable[Entry], *, organization: Organization) -> None:
    shown = [each for each in entries if each.event.handling in _NAMES]
    found = {}
    for entry in sorted(shown, key=lambda each: read_newest(each.event.data) or each.event.timestamp):
        handling = entry.event.handling
        if handling is not None:
            found[_NAMES[handling], str(entry.event.data.get("id"))] = entry.event.data
    if found:
        apply_catalogue(found, organization=organization)


def _group(entries: Sequence[Entry], fields: StateFields) -> dict[UUID, _CustomerEvents]:
    customers: dict[UUID, _CustomerEvents] = {}
    buyers = _find_buyers(entries)
    for entry in entries:
        handling = entry.event.handling
        if handling is None:
            entry.end(Status.IGNORED, f"Nothing that is mirrored changes by {entry.event.type}.")
            continue
        if handling in _NAMES or handling is Handling.BENEFIT:
            continue
        key = entry.event.customer_id or buyers.get(entry.event.subscription_id)
        if key is None:
            entry.end(Status.IGNORED, "The event names no customer, and no subscription of one who is mirrored.")
            continue
        events = customers.setdefault(key, _CustomerEvents())
        try:
            _take(entry, handling, events, fields)
        except PayloadError as error:
            entry.end(Status.FAILED, str(error))
            events.doubt(entry, str(error))
    return customers


def _find_buyers(entries: Iterable[Entry]) -> dict[UUID | None, UUID]:
    """The customers of the subscriptions that events name without a customer."""
    ids = {each.event.subscription_id for each in entries if each.event.customer_id is None} - {None}
    if not ids:
        return {}
    return dict(on_primary(Subscription.objects).filter(pk__in=ids).values_list("pk", "customer_id"))


def _take(entry: Entry, handling: Handling, events: _CustomerEvents, fields: StateFields) -> None:
    event = entry.event
    if handling is Handling.STATE:
        entry.observation = observe_reported_state(event.data, reported_at=event.timestamp)
        events.add_state(entry)
    elif handling is Handling.CUSTOMER:
        entry.observation = observe_reported_customer(event.data, reported_at=event.timestamp)
        events.own.append(entry)
    elif handling is Handling.REFRESH:
        events.others.append(entry)
    else:
        entry.report = read_report(event, fields)
        if entry.report is None:
            events.doubt(
                entry, f"Whether a state holds a subscription that is {event.data.get('status')!r} is unknown."
            )
        else:
            events.reports.append(entry)


def _choose_state(events: _CustomerEvents) -> None:
    """Leave the newest state to be applied, or nobody's where an older one shows something newer."""
    for entry in events.older:
        entry.end(Status.STALE, "A later state was waiting.")
    newest = events.state
    if newest is None or read_timestamp(newest.event.data.get("deleted_at")) is not None:
        return
    if _is_behind(newest.event, [each.event for each in events.older], events.reports):
        newest.observation = None
        events.doubt(newest, "An earlier state showed something that is newer than in this one.")


def _is_behind(newest: Event, older: Iterable[Event], reports: Iterable[Entry]) -> bool:
    """Whether one of the older states shows a newer version of an object, or one that nothing says has ended."""
    shown = index_objects(newest.data)
    ended = {str(each.report.id): each.report.version for each in reports if each.report and not each.report.children}
    for event in older:
        if event.timestamp < newest.timestamp - EVENT_AGE or not is_readable(event.data):
            continue
        for (kind, ids), item in index_objects(event.data).items():
            version, other = read_newest(item), shown.get((kind, ids))
            if version is None:
                continue
            if other is not None:
                if (read_newest(other) or version) < version:
                    return True
            elif not any(key in ended and ended[key] >= version for key in ids):
                return True
    return False


def _divide(customers: Iterable[_CustomerEvents]) -> tuple[list[Entry], list[Entry]]:
    """The reports of before the state that is applied, and those of after it."""
    early: list[Entry] = []
    late: list[Entry] = []
    for events in customers:
        until = events.state.event.timestamp if events.state is not None else None
        for entry in events.reports:
            (early if until is None or entry.event.timestamp <= until else late).append(entry)
    return early, late


def _find_unapplied(
    customers: Mapping[UUID, _CustomerEvents],
    before: Mapping[UUID, ObservationRecord],
    fields: StateFields,
    *,
    organization: Organization,
) -> list[Entry]:
    """Reports about customers of whom a state has come only now, which may have been read before these were made."""
    new: dict[UUID, datetime] = {}
    found: list[Entry] = []
    for key, events in customers.items():
        if events.state is not None and (key not in before or before[key].state is None):
            new[key] = events.state.event.timestamp
            found += [each for each in events.reports if each.event.timestamp <= new[key]]
    if new:
        rows = WebhookDelivery.objects.filter(organization=organization, customer_id__in=new, status=Status.PROCESSED)
        rows = rows.filter(timestamp__gt=min(new.values()) - EVENT_AGE)
        for payload in rows.values_list("payload", flat=True):
            entry = _read_report(payload, fields)
            if entry is not None and entry.event.customer_id in new:
                found.append(entry)
    return found


def _read_report(payload: str, fields: StateFields) -> Entry | None:
    try:
        entry = Entry(read_event(payload))
        if entry.event.handling in {Handling.SUBSCRIPTION, Handling.GRANT}:
            entry.report = read_report(entry.event, fields)
    except PayloadError:
        return None
    return entry if entry.report is not None else None


def _note_verdicts(
    entries: Iterable[Entry], verdicts: Mapping[ReportedObject, Verdict], customers: Mapping[UUID, _CustomerEvents]
) -> None:
    for entry in entries:
        if entry.report is None:
            continue
        events, event = customers[entry.report.customer_id], entry.event
        verdict = verdicts.get(entry.report)
        if verdict is None:
            entry.end(Status.STALE, "A later version of it was waiting.")
        elif verdict is Verdict.STALE:
            entry.end(Status.STALE, "What is mirrored was read later.")
        elif verdict is Verdict.APPLIED:
            events.want(event, event.timestamp, "No state followed a change.")
        elif verdict is Verdict.UNKNOWN:
            entry.reason = "What else the customer has is not known yet; the state that follows is waited for."
            events.want(event, event.timestamp, entry.reason)
        elif verdict is Verdict.DOUBTFUL:
            entry.reason = "It may have ended meanwhile; the state that follows is waited for."
            events.want(event, event.timestamp + EVENT_AGE, entry.reason)


def _iterate_observed(customers: Iterable[_CustomerEvents]) -> Iterator[Entry]:
    for events in customers:
        yield from events.own
        if events.state is not None:
            yield events.state


def _note_result(
    events: _CustomerEvents,
    key: UUID,
    result: ApplyResult,
    *,
    before: ObservationRecord | None,
    after: ObservationRecord | None,
) -> None:
    outcome = result.outcomes.get(key)
    known = before.state if before is not None else None
    for entry in events.own:
        if outcome is Outcome.STALE:
            entry.end(Status.STALE, "What is mirrored was read later.")
        elif outcome is not Outcome.UNCHANGED or known is None:
            events.want(entry.event, entry.event.timestamp, "No state followed a change.")
    state = events.state
    if state is None or state.observation is None:
        return
    if key in result.unresolved:
        events.doubt(state, "It shares a moment with what is mirrored, and differs.")
    elif outcome is not Outcome.STALE and _covers(after, state.event):
        events.is_state_decisive = True
    elif known is not None and state.event.timestamp > known.interval.end:
        events.doubt(state, "It came later than what is mirrored, and shows older versions.")
    else:
        state.end(Status.STALE, "What is mirrored was read later.")


def _covers(record: ObservationRecord | None, event: Event) -> bool:
    """Whether what is stored of the customer's children was read when the event was made, or later."""
    return record is not None and record.state is not None and record.state.interval.end >= event.timestamp


def _find_followed(customers: Mapping[UUID, _CustomerEvents], organization: Organization) -> dict[UUID, datetime]:
    """Of those about whom there are events without anything mirrored, the time of the last state that held."""
    ids = [key for key, events in customers.items() if events.others]
    if not ids:
        return {}
    rows = WebhookDelivery.objects.filter(organization=organization, customer_id__in=ids, type="customer.state_changed")
    held = rows.filter(status=Status.PROCESSED, reason="").order_by().values_list("customer_id")
    return dict(held.annotate(at=Max("timestamp")))


def _note_wanted(customers: Mapping[UUID, _CustomerEvents], *, organization: Organization) -> None:
    wanted: dict[UUID, Wanted] = {}
    covered: dict[UUID, datetime] = {}
    followed = _find_followed(customers, organization)
    for key, events in customers.items():
        if events.is_gone:
            covered[key] = datetime.max.replace(tzinfo=timezone.now().tzinfo)
            continue
        if events.state is not None and events.is_state_decisive:
            covered[key] = events.state.event.timestamp
        for entry in events.others:
            if key not in followed or followed[key] < entry.event.timestamp:
                events.want(entry.event, entry.event.timestamp, f"No state followed {entry.event.type}.")
        left = [each for each in events.wanted if key not in covered or each.since > covered[key]]
        if left:
            merged = left[0]
            for each in left[1:]:
                merged = merged.merge(each)
            wanted[key] = merged
    if wanted or covered:
        note_wanted(wanted, covered, organization=organization)
