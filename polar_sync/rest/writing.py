"""Creating, changing and deleting customers on Polar, and in the mirror before the answer returns.

No transaction may be open: Polar is asked. https://polar.sh/docs/api-reference/customers/create
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from polar_sync.client import PolarObject
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import NotFoundError, PolarSyncError
from polar_sync.models import Customer, CustomerObservation, Organization
from polar_sync.rest.freshness import format_instant
from polar_sync.rest.rows import CustomerRow
from polar_sync.store import apply, observe_absence, observe_customer
from polar_sync.sync import Connection, get_worker_connection
from polar_sync.sync.binding import bind_organization

# What tells of no person.
_IMPERSONAL = ("id", "organization_id", "created_at", "modified_at", "type")


def get_home(customer: CustomerRow) -> OrganizationSettings:
    """The settings of a mirrored customer's organization. Raises `ConfigurationError` where they are gone."""
    name = Organization.objects.values_list("name", flat=True).get(polar_id=customer.organization_id)
    return settings.get_organization(name)


def create_customer(organization: OrganizationSettings, fields: dict[str, Any]) -> PolarObject:
    """Create a customer and mirror what Polar answers."""
    connection = get_worker_connection(organization)
    # `self` is no field of Polar's, which passes over what it does not know, and would be taken for the method's own.
    created = connection.client.customers.create(**{name: value for name, value in fields.items() if name != "self"})
    _mirror(organization, connection, created)
    return created


def update_customer(organization: OrganizationSettings, customer_id: UUID, fields: dict[str, Any]) -> PolarObject:
    """Change a customer and mirror what Polar answers."""
    connection = get_worker_connection(organization)
    try:
        updated = connection.client.customers.update(customer_id, **fields)
    except NotFoundError as error:
        _bury(organization, customer_id, error.as_of or timezone.now(), is_anonymized=False)
        raise
    _mirror(organization, connection, updated)
    return updated


def delete_customer(organization: OrganizationSettings, customer_id: UUID, *, is_anonymized: bool) -> None:
    """Delete a customer for good, mark the mirrored one deleted, and scrub it where it was anonymized."""
    connection = get_worker_connection(organization)
    try:
        connection.client.customers.delete(customer_id, anonymize=is_anonymized)
    except NotFoundError as error:
        _bury(organization, customer_id, error.as_of or timezone.now(), is_anonymized=False)
        raise
    _bury(organization, customer_id, _get_time_of_absence(connection, customer_id), is_anonymized=is_anonymized)


def _mirror(organization: OrganizationSettings, connection: Connection, customer: PolarObject) -> None:
    row, _ = Organization.objects.get_or_create(name=organization.name, defaults={"server": organization.server})
    bind_organization(row, [customer], expected=connection.organization_id)
    apply([observe_customer(customer, as_of=customer.as_of)], organization=row)


def _get_time_of_absence(connection: Connection, customer_id: UUID) -> datetime:
    """On Polar's clock, which the answer to a deletion does not tell here; ours where Polar does not say."""
    try:
        connection.client.customers.get(customer_id)
    except NotFoundError as error:
        return error.as_of or timezone.now()
    except PolarSyncError:
        pass  # it is deleted, whatever this says
    return timezone.now()


def _bury(organization: OrganizationSettings, customer_id: UUID, as_of: datetime, *, is_anonymized: bool) -> None:
    """A deletion is final, so it holds against anything that was seen before, however finely that was timed."""
    row = Organization.objects.filter(name=organization.name).first()
    seen = CustomerObservation.objects.filter(pk=customer_id).first()
    if row is None or seen is None:
        return
    at = max(filter(None, (as_of, seen.observed_at, seen.extra_observed_at, seen.state_observed_at)))
    apply([observe_absence(customer_id, as_of=at)], organization=row)
    if is_anonymized:
        data = Customer.all_objects.get(pk=customer_id).to_polar()
        kept = {name: data[name] for name in _IMPERSONAL if name in data}
        scrubbed = {**kept, "deleted_at": data.get("deleted_at") or format_instant(at)}
        apply([observe_customer(scrubbed, as_of=at)], organization=row)
