"""One customer on demand: asked of Polar now, and in the mirror before this returns."""

from __future__ import annotations

from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import NotFoundError
from polar_sync.models import Customer, Organization
from polar_sync.store import Observation, Outcome, apply, observe_absence, observe_state
from polar_sync.sync.binding import bind_organization, check_organization
from polar_sync.sync.connections import Connection


def refresh_customer(organization: OrganizationSettings, customer_id: UUID, connection: Connection) -> Outcome:
    """Mirror one customer's present state; one that Polar says does not exist is marked deleted.

    Raises `NotFoundError` where neither Polar nor the mirror knows it, `OrganizationMismatchError` where the token does
    not show this organization, and every error of the client.
    """
    row = _get_organization(organization)
    try:
        state = connection.client.customers.get_state(str(customer_id))
    except NotFoundError as error:
        return _bury(row, customer_id, error, connection)
    return _apply_state(row, state, connection)


def refresh_external(organization: OrganizationSettings, external_id: str, connection: Connection) -> list[Outcome]:
    """As `refresh_customer`, by your own id. Where Polar knows nobody by it, those mirrored with it are refreshed."""
    row = _get_organization(organization)
    try:
        state = connection.client.customers.get_state_external(external_id)
    except NotFoundError:
        mirrored = Customer.objects.filter(organization=row).with_external_id(external_id)
        ids = list(mirrored.values_list("pk", flat=True))
        if not ids:
            raise
        return [refresh_customer(organization, customer_id, connection) for customer_id in ids]
    return [_apply_state(row, state, connection)]


def _get_organization(organization: OrganizationSettings) -> Organization:
    defaults = {"server": organization.server}
    return Organization.objects.update_or_create(name=organization.name, defaults=defaults)[0]


def _bury(row: Organization, customer_id: UUID, error: NotFoundError, connection: Connection) -> Outcome:
    if error.as_of is None or not Customer.objects.filter(pk=customer_id, organization=row).exists():
        if Customer.all_objects.filter(pk=customer_id, organization=row).exists():
            return Outcome.UNCHANGED
        raise error
    check_organization(row, connection.list_customers(page=1, limit=1), connection)
    return _apply(row, observe_absence(customer_id, as_of=error.as_of))


def _apply_state(row: Organization, state: PolarObject, connection: Connection) -> Outcome:
    bind_organization(row, [state], expected=connection.organization_id)
    return _apply(row, observe_state(state, as_of=state.as_of))


def _apply(row: Organization, observation: Observation) -> Outcome:
    return apply([observation], organization=row).outcomes[observation.id]
