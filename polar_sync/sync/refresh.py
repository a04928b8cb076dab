"""One customer on demand: asked of Polar now, and in the mirror before this returns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import DeniedStateError, NotFoundError, PayloadError, PolarSyncError
from polar_sync.models import Customer, Organization, on_primary
from polar_sync.payloads import read_id
from polar_sync.states import stops_fetching
from polar_sync.store import (
    Observation,
    ObservationRecord,
    Outcome,
    apply,
    get_records,
    observe_absence,
    observe_customer,
    observe_state,
)
from polar_sync.sync.connections import Connection, bind_organization, check_organization, do_nothing
from polar_sync.sync.resolution import (
    KEPT_CHANGING,
    MAX_ROUNDS,
    Resolution,
    Unresolved,
    ask_anew,
    make_final,
    resolve,
)
from polar_sync.sync.sources import get_last_knowledge, get_mirrored


def refresh_customer(
    organization: OrganizationSettings, customer_id: UUID, connection: Connection, *, is_fresh: bool = False
) -> Outcome:
    """Mirror one customer's present state; one that Polar says does not exist is marked deleted.

    Of the state alone that proves nothing: the customer itself is asked for too, and `DeniedStateError` raised where
    Polar has it.
    Polar answers with a state of up to an hour ago; where that may be older than what is mirrored, the lists decide.
    With `is_fresh` they are asked in any case, so that nothing is missing which came about before the call: a state
    that Polar put together before the last write can equal what is mirrored.
    Raises `NotFoundError` where neither Polar nor the mirror knows it, `OrganizationMismatchError` where the token does
    not show this organization, and every error of the client.
    """
    row = _get_organization(organization)
    stored = get_records([customer_id]).get(customer_id)
    try:
        state = connection.client.customers.get_state(str(customer_id))
    except NotFoundError as error:
        return _mark_deleted(row, customer_id, error, connection, stored=stored)
    shown_id = read_id(state, what="state")
    if shown_id != customer_id:
        raise PayloadError(f"Polar answered with the state of another customer, {shown_id}, for {customer_id}")
    return _apply_state(row, state, connection, is_fresh=is_fresh)[customer_id]


def refresh_external(organization: OrganizationSettings, external_id: str, connection: Connection) -> list[Outcome]:
    """As `refresh_customer`, by your own id. Where Polar knows nobody by it, those mirrored with it are refreshed.

    An id can go from one customer to another: who had it until now is asked for too, and both are written together.
    """
    row = _get_organization(organization)
    try:
        state = connection.client.customers.get_state_external(external_id)
    except NotFoundError:
        holders = _get_holders(row, external_id)
        if not holders:
            raise
        return [refresh_customer(organization, customer_id, connection) for customer_id in holders]
    former = [key for key in _get_holders(row, external_id) if key != read_id(state, what="state")]
    stored = get_records(former)
    others = [_ask_former_holder(key, connection, stored=stored.get(key)) for key in former]
    return list(_apply_state(row, state, connection, others=others).values())


def refresh_from_lists(
    organization: OrganizationSettings, ids: Collection[UUID], connection: Connection
) -> Iterator[tuple[UUID, PolarSyncError | None]]:
    """Mirror what these customers have now, asked of Polar's lists together; each with the error that kept it away.

    Their own fields are asked for only of those who are not mirrored yet or seem to have lost everything, as a customer
    does who was deleted. Those whom the error concerns that ends all asking are left out.
    """
    row = _get_organization(organization)
    knowledge = get_last_knowledge(row)
    pending = set(ids)
    for _ in range(MAX_ROUNDS):
        records = get_records(pending)
        items = _get_items(row, pending)
        rows = get_mirrored(items).rows.values()
        mirrored = {key: sum(counts.get(key, 0) for counts in rows) for key in items}
        observations: list[Observation] = []
        asked: set[UUID] = set()
        for found in ask_anew(records, items, connection, knowledge=knowledge, on_tick=do_nothing):
            if found.error is not None:
                yield found.id, found.error
            elif _is_surprising(found, mirrored):
                yield found.id, _refresh(organization, found.id, connection)
            else:
                observations += found.observations
                asked.add(found.id)
        for key in pending - items.keys():
            yield key, _refresh(organization, key, connection)
        pending = set(apply(observations, organization=row).unresolved) if observations else set()
        yield from ((key, None) for key in asked - pending)
        if not pending:
            return
    yield from ((key, PolarSyncError(KEPT_CHANGING)) for key in pending)


def _get_items(row: Organization, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The own fields of those who are mirrored with all that they have."""
    known = on_primary(Customer.objects).filter(pk__in=ids, organization=row)
    known = known.exclude(observation__state_observed_at=None)
    return {customer.pk: customer.to_polar() for customer in known.filter(observation__isnull=False)}


def _is_surprising(found: Resolution, mirrored: Mapping[UUID, int]) -> bool:
    """Whether the lists cannot tell, or tell that everything is gone: the customer may be gone too."""
    if not found.observations:
        return True
    state = found.observations[-1].state
    return bool(mirrored.get(found.id)) and state is not None and not any(state.children.values())


def refresh_each(
    organization: OrganizationSettings, ids: Iterable[UUID], connection: Connection
) -> Iterator[tuple[UUID, PolarSyncError | None]]:
    """The same by the state of each, for a token that may not read the lists."""
    for key in ids:
        error = _refresh(organization, key, connection)
        yield key, error
        if stops_fetching(error):
            return


def _refresh(organization: OrganizationSettings, key: UUID, connection: Connection) -> PolarSyncError | None:
    try:
        refresh_customer(organization, key, connection, is_fresh=connection.has_lists)
    except NotFoundError:
        return None  # neither Polar nor the mirror knows it
    except PolarSyncError as error:
        return error
    return None


def _get_organization(organization: OrganizationSettings) -> Organization:
    defaults = {"server": organization.server}
    return Organization.objects.update_or_create(name=organization.name, defaults=defaults)[0]


def _get_holders(row: Organization, external_id: str) -> list[UUID]:
    """Those who are mirrored, living, with this external id."""
    holders = on_primary(Customer.objects).filter(organization=row).with_external_id(external_id)
    return list(holders.values_list("pk", flat=True))


def _ask_former_holder(key: UUID, connection: Connection, *, stored: ObservationRecord | None) -> Observation:
    try:
        customer = connection.client.customers.get(key)
    except NotFoundError as error:
        if error.interval is None:
            raise
        return observe_absence(key, interval=error.interval, follows=stored)
    return observe_customer(customer, interval=customer.interval)


def _mark_deleted(
    row: Organization,
    customer_id: UUID,
    error: NotFoundError,
    connection: Connection,
    *,
    stored: ObservationRecord | None,
) -> Outcome:
    known = on_primary(Customer.all_objects).filter(pk=customer_id, organization=row)
    if error.interval is None or not known.filter(deleted_at=None).exists():
        if known.exists():
            return Outcome.UNCHANGED
        raise error
    check_organization(row, connection.list_customers(page=1, limit=1), connection)
    try:
        connection.client.customers.get(customer_id)
    except NotFoundError as confirmation:
        interval = confirmation.interval or error.interval
        absence = observe_absence(customer_id, interval=interval, follows=stored)
        return apply([absence], organization=row).outcomes.get(customer_id, Outcome.DELETED)
    raise DeniedStateError(f"Polar has customer {customer_id}, but of its state it says: {error}")


def _apply_state(
    row: Organization,
    state: PolarObject,
    connection: Connection,
    *,
    others: Sequence[Observation] = (),
    is_fresh: bool = False,
) -> dict[UUID, Outcome]:
    bind_organization(row, [state], expected=connection.organization_id)
    observation = observe_state(state, interval=state.interval, is_final=not connection.has_lists)
    result = apply([observation, *others], organization=row)
    outcomes = dict(result.outcomes)
    undecided = get_records([observation.id]) if is_fresh and connection.has_lists else {}
    undecided |= result.unresolved
    for _ in range(MAX_ROUNDS):
        if not undecided:
            return outcomes
        unresolved = {key: Unresolved(stored, observation) for key, stored in undecided.items()}
        decisive: list[Observation] = []
        knowledge = get_last_knowledge(row)
        for found in resolve(unresolved, connection, knowledge=knowledge, on_tick=do_nothing):
            if found.error is not None:
                raise found.error
            decisive += found.observations
        result = apply(decisive, organization=row)
        outcomes |= result.outcomes
        undecided = dict(result.unresolved)
    result = apply([make_final(observation)], organization=row)
    return {**outcomes, **result.outcomes}
