"""Creating, changing and deleting customers on Polar, and in the mirror before the answer returns.

No transaction may be open: Polar is asked. https://polar.sh/docs/api-reference/customers/create
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from polar_sync.client import PolarObject
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import NotFoundError
from polar_sync.models import Customer, Organization, on_primary
from polar_sync.payloads import Interval
from polar_sync.rest.queries import CustomerRow
from polar_sync.rest.responses import format_instant
from polar_sync.store import apply, get_records, observe_absence, observe_customer
from polar_sync.sync import Connection, get_worker_connection
from polar_sync.sync.connections import bind_organization

# What tells of no person.
_IMPERSONAL = ("id", "organization_id", "created_at", "modified_at", "type")


def get_home(customer: CustomerRow) -> OrganizationSettings:
    """The settings of a mirrored customer's organization. Raises `ConfigurationError` where they are gone."""
    name = on_primary(Organization.objects).values_list("name", flat=True).get(polar_id=customer.organization_id)
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
        _mark_deleted(organization, customer_id, error.interval)
        raise
    _mirror(organization, connection, updated)
    return updated


def delete_customer(organization: OrganizationSettings, customer_id: UUID, *, is_anonymized: bool) -> None:
    """Delete a customer for good, mark the mirrored one deleted, and scrub it where it was anonymized."""
    connection = get_worker_connection(organization)
    try:
        interval = connection.client.customers.delete(customer_id, anonymize=is_anonymized)
    except NotFoundError as error:
        _mark_deleted(organization, customer_id, error.interval)
        raise
    _mark_deleted(organization, customer_id, interval, is_anonymized=is_anonymized)


def _mirror(organization: OrganizationSettings, connection: Connection, customer: PolarObject) -> None:
    row, _ = Organization.objects.get_or_create(name=organization.name, defaults={"server": organization.server})
    bind_organization(row, [customer], expected=connection.organization_id)
    apply([observe_customer(customer, interval=customer.interval, is_written=True)], organization=row)


def _mark_deleted(
    organization: OrganizationSettings, customer_id: UUID, interval: Interval | None, *, is_anonymized: bool = False
) -> None:
    """A deletion is final, so it holds against anything that was seen before, however finely that was timed."""
    row = on_primary(Organization.objects).filter(name=organization.name).first()
    customer = on_primary(Customer.all_objects).filter(pk=customer_id).first()
    if row is None or customer is None or interval is None:
        return
    apply([observe_absence(customer_id, interval=interval, is_written=True)], organization=row)
    if is_anonymized:
        data = customer.to_polar()
        kept = {name: data[name] for name in _IMPERSONAL if name in data}
        scrubbed = {**kept, "deleted_at": data.get("deleted_at") or format_instant(interval.end)}
        record = get_records([customer_id])[customer_id]
        if record.own is not None:  # nothing that was read before may bring the person back
            interval = interval.hull(record.own.interval)
        apply([observe_customer(scrubbed, interval=interval, is_written=True)], organization=row)
