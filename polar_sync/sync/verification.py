"""The mirror beside Polar itself: the states of some customers, asked for one by one and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from polar_sync.client import PolarObject
from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import ConfigurationError, MissingScopeError, NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import Benefit, Customer, Organization, Verification, on_primary
from polar_sync.payloads import STATE_AGE, Interval, load_canonical, read_state
from polar_sync.payloads.values import read_timestamp, read_uuid
from polar_sync.states import (
    ABSENT,
    MARGIN,
    Difference,
    Knowledge,
    ListReader,
    RowEstimates,
    StateAnswer,
    Verdict,
    compare,
    find_ended,
    stops_fetching,
)
from polar_sync.sync.completeness import PAGE_SIZE, count_pages
from polar_sync.sync.connections import Connection, check_organization, do_nothing
from polar_sync.sync.refresh import refresh_customer

BATCH_SIZE = 100
_DELETED_SHARE = 10
"""To so many living customers of a sample one is asked about who is known to be deleted."""
_MAX_EXAMPLES = 50
MIRROR, POLAR = "the mirror", "Polar"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one customer; `failure` says why Polar's state cannot be had or read."""

    id: UUID
    differences: tuple[Difference, ...] = ()
    failure: str = ""
    is_repaired: bool = False

    @property
    def contradictions(self) -> list[Difference]:
        """What the mirror says otherwise than Polar, beyond what a state's age explains."""
        return [each for each in self.differences if each.verdict is Verdict.CONTRADICTION]


@dataclass(slots=True)
class Tally:
    """Findings added up; the numbers are those of `polar_sync.models.Verification`."""

    checked: int = 0
    differing: int = 0
    repaired: int = 0
    failed: int = 0
    contradictions: int = 0
    unproven: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.checked += 1
        self.differing += bool(finding.contradictions)
        self.repaired += finding.is_repaired
        self.failed += bool(finding.failure)
        self.contradictions += len(finding.contradictions)
        self.unproven += len(finding.differences) - len(finding.contradictions)
        self.counts.update(each.kind for each in finding.contradictions)
        more = [each.describe(here=MIRROR, there=POLAR) for each in finding.contradictions]
        more += [f"customer {finding.id}: {finding.failure}"] if finding.failure else []
        self.examples += more[: _MAX_EXAMPLES - len(self.examples)]

    def dump(self) -> dict[str, Any]:
        """As JSON, for who goes on adding."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Tally:
        """From what `dump` gave, or from nothing."""
        return cls(**{**data, "counts": Counter(data.get("counts", {}))})

    def save(self, organization: Organization, *, started_at: datetime) -> Verification:
        """Keep it as the organization's last verification."""
        values = {**self.dump(), "started_at": started_at, "finished_at": timezone.now()}
        kept, _ = Verification.objects.update_or_create(organization=organization, defaults=values)
        return kept


def choose_customers(row: Organization, *, sample: int | None) -> list[UUID]:
    """The customers to verify: those whose state was confirmed least recently, or (None) all that are mirrored.

    To every ten living ones of a sample comes one who is mirrored as deleted, the last deleted first.
    """
    customers = on_primary(Customer.all_objects).filter(organization=row)
    oldest = customers.filter(deleted_at=None).order_by(F("observation__state_observed_at").asc(nulls_first=True), "pk")
    deleted = customers.exclude(deleted_at=None).order_by("-deleted_at", "pk")
    if sample is not None:
        oldest, deleted = oldest[:sample], deleted[: -(-sample // _DELETED_SHARE)]
    return [*oldest.values_list("pk", flat=True), *deleted.values_list("pk", flat=True)]


def get_organization(organization: OrganizationSettings) -> Organization:
    """The organization as it is mirrored. Raises `ConfigurationError` where nothing of it is yet."""
    row: Organization | None = (
        on_primary(Organization.objects).filter(name=organization.name).exclude(polar_id=None).first()
    )
    if row is None:
        raise ConfigurationError(f"Nothing of {organization.name!r} is mirrored yet. Run manage.py polar_sync first.")
    return row


def verify_customers(
    organization: OrganizationSettings, ids: Sequence[UUID], connection: Connection, *, is_repairing: bool = False
) -> Iterator[Finding]:
    """Yield what is found out about each of these customers.

    Raises `OrganizationMismatchError` where the token does not show this organization, and what keeps Polar from being
    asked further; those that were yielded before are done.
    """
    row = get_organization(organization)
    check_organization(row, connection.list_customers(page=1, limit=1), connection)
    verifier = _Verifier(row, connection)
    for start in range(0, len(ids), BATCH_SIZE):
        for finding in verifier.verify(ids[start : start + BATCH_SIZE]):
            if is_repairing and finding.contradictions:
                yield _repair(organization, finding, connection, verifier)
            else:
                yield finding


def find_unmirrored(
    organization: OrganizationSettings, connection: Connection, *, is_repairing: bool = False
) -> Iterator[Finding]:
    """Yield the customers on Polar's list of whom the mirror has nothing; of one of the last hour it proves nothing."""
    row = get_organization(organization)
    verifier = _Verifier(row, connection)
    number = last = 1
    while number <= last:
        page = connection.list_customers(page=number, limit=PAGE_SIZE)
        check_organization(row, page, connection, is_empty_believed=number > 1)
        last = count_pages(page)
        created = {
            key: read_timestamp(item.get("created_at"))
            for item in page.items
            if isinstance(item, dict) and (key := read_uuid(item.get("id"))) is not None
        }
        known = on_primary(Customer.all_objects).filter(pk__in=created)
        for key in created.keys() - set(known.values_list("pk", flat=True)):
            finding = Finding(key, (_miss(key, created[key], now=page.interval.start),))
            is_wanted = is_repairing and finding.contradictions
            yield _repair(organization, finding, connection, verifier) if is_wanted else finding
        number += 1


def _miss(key: UUID, created_at: datetime | None, *, now: datetime) -> Difference:
    is_young = created_at is None or created_at > now - STATE_AGE
    verdict = Verdict.NO_EVIDENCE if is_young else Verdict.CONTRADICTION
    return Difference(("customer", (str(key),)), None, ABSENT, created_at, verdict)


def _repair(
    organization: OrganizationSettings, finding: Finding, connection: Connection, verifier: _Verifier
) -> Finding:
    """Mirror the customer's present state; whether that has helped, the state that differed tells."""
    try:
        refresh_customer(organization, finding.id, connection)
    except PolarSyncError as error:
        if stops_fetching(error):
            raise
        return replace(finding, failure=f"{type(error).__name__}: {error}")
    again = list(verifier.verify([finding.id]))
    return replace(finding, is_repaired=not any(each.contradictions or each.failure for each in again))


class _Verifier:
    """Compares customers of one organization."""

    def __init__(self, row: Organization, connection: Connection) -> None:
        self._row = row
        self._connection = connection
        self._benefits = _read_benefit_times(row)

    def verify(self, ids: Sequence[UUID]) -> Iterator[Finding]:
        answers = list(self._connection.per_customer.fetch(dict.fromkeys(ids), on_tick=do_nothing))
        # After the answers: what came into the mirror meanwhile is newer than they are, which proves nothing.
        customers = on_primary(Customer.all_objects).with_state()
        mirrored = customers.select_related("observation").in_bulk(ids)
        for answer in answers:
            if stops_fetching(answer.error):
                continue
            if answer.id in mirrored:
                yield self._compare(mirrored[answer.id], answer)
        for answer in answers:
            if answer.error is not None and stops_fetching(answer.error):
                raise answer.error

    def _compare(self, customer: Customer, answer: StateAnswer) -> Finding:
        if isinstance(answer.error, NotFoundError):
            return self._compare_absence(customer)
        if answer.state is None:
            return Finding(customer.pk, failure=f"{type(answer.error).__name__}: {answer.error}")
        if customer.deleted_at:
            return Finding(customer.pk, (_describe_presence(customer, answer.state),))
        try:
            shown_id = read_state(answer.state).customer.id
        except PayloadError as error:
            return Finding(customer.pk, failure=error.reason)
        if shown_id != customer.pk:
            return Finding(customer.pk, failure=f"Polar answered with the state of another customer, {shown_id}")
        told_in = _get_interval(customer, answer.state.interval)
        shown_in = answer.state.interval
        found = compare(answer.state, customer.state(), shown_in=shown_in, told_in=told_in, benefits=self._benefits)
        return Finding(customer.pk, self._drop_ended(customer, answer.state, found))

    def _compare_absence(self, customer: Customer) -> Finding:
        """The state alone does not say so: that a customer is gone, only the customer itself does."""
        if customer.deleted_at:
            return Finding(customer.pk)
        try:
            self._connection.client.customers.get(customer.pk)
        except NotFoundError:
            return Finding(customer.pk, (_describe_presence(customer, None),))
        except PolarSyncError as error:
            if stops_fetching(error):
                raise
            return Finding(customer.pk, failure=f"{type(error).__name__}: {error}")
        return Finding(customer.pk, failure="Polar has this customer and says that its state does not exist.")

    def _drop_ended(
        self, customer: Customer, state: PolarObject, found: Sequence[Difference]
    ) -> tuple[Difference, ...]:
        """With objects that only the state has as no evidence where they have changed since: a state may be old."""
        only_shown = [
            each
            for each in found
            if each.field is None and each.told is ABSENT and each.verdict is Verdict.CONTRADICTION
        ]
        if not only_shown:
            return tuple(found)
        connection = self._connection
        reader = ListReader(connection.client, connection.executor, RowEstimates(), Knowledge())
        try:
            ended = find_ended(reader, customer.pk, state, only_shown, on_tick=do_nothing)
        except MissingScopeError:  # with nobody to ask, what was confirmed within the hour is as good as the state
            observed = customer.observation.state_observed_at if hasattr(customer, "observation") else None
            is_recent = observed is not None and observed > state.interval.start - STATE_AGE
            ended = only_shown if is_recent else []
        return tuple(replace(each, verdict=Verdict.NO_EVIDENCE) if each in ended else each for each in found)


def _get_interval(customer: Customer, shown_in: Interval) -> Interval:
    """When the mirror was confirmed: an older mirror than states may be is out of date, whatever it says."""
    earliest = shown_in.start - STATE_AGE + MARGIN
    observed = customer.observation.state_observed_at if hasattr(customer, "observation") else None
    return Interval.at(max(observed or earliest, earliest))


def _describe_presence(customer: Customer, state: PolarObject | None) -> Difference:
    """A customer who lives on one side only; one who was deleted just now may have a state for a while."""
    key = ("customer", (str(customer.pk),))
    if state is None:
        return Difference(key, None, customer.created_at, ABSENT, Verdict.CONTRADICTION)
    is_young = customer.deleted_at is not None and customer.deleted_at > state.interval.start - STATE_AGE
    verdict = Verdict.NO_EVIDENCE if is_young else Verdict.CONTRADICTION
    return Difference(key, None, ABSENT, customer.created_at, verdict)


def _read_benefit_times(row: Organization) -> Mapping[str, datetime]:
    benefits = on_primary(Benefit.objects).filter(organization=row).order_by()
    payloads: dict[UUID, Any] = dict(benefits.values_list("pk", "payload"))
    times = {str(key): read_timestamp(load_canonical(text).get("modified_at")) for key, text in payloads.items()}
    return {key: time for key, time in times.items() if time is not None}
