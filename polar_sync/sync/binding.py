"""Which Polar organization a name of the settings stands for: learned from its customers, then held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import router, transaction

from polar_sync.client import ListPage
from polar_sync.conf import settings
from polar_sync.exceptions import ConfigurationError, OrganizationMismatchError
from polar_sync.models import Organization, on_primary
from polar_sync.payloads.values import read_uuid
from polar_sync.sync.connections import Connection


def bind_organization(organization: Organization, customers: Sequence[Any], *, expected: str | None) -> None:
    """Check an answer against the organization before anything of it is written; learn Polar's id from the first.

    `expected` is the setting `ORGANIZATION_ID`. Raises `OrganizationMismatchError`, and `ConfigurationError` where the
    answer does not tell which organization it is of.
    """
    shown = {_get_organization_id(item) for item in customers} - {None}
    wanted = organization.polar_id or read_uuid(expected)
    if len(shown) > 1 or (wanted is not None and shown and shown != {wanted}):
        names = ", ".join(sorted(map(str, shown)))
        raise OrganizationMismatchError(
            f"The token of {organization.name!r} shows customers of the Polar organization {names}"
            + (f", not of {wanted}" if wanted else "")
            + ". Nothing was written. Check the token; if it may see several organizations, set ORGANIZATION_ID."
        )
    if organization.polar_id is not None:
        return
    learned = next(iter(shown), None) or wanted
    if learned is not None:
        _learn(organization, learned)
    elif customers:
        raise ConfigurationError(
            f"The customers of {organization.name!r} do not say which organization they belong to. Set ORGANIZATION_ID."
        )


def check_organization(
    organization: Organization, listing: ListPage, connection: Connection, *, is_empty_believed: bool = False
) -> None:
    """Before a `ResourceNotFound` is believed: check by a listing that the token shows this organization.

    Raises `OrganizationMismatchError`, also where it lists nobody, which shows nothing, unless that is believed.
    """
    bind_organization(organization, listing.items, expected=connection.organization_id)
    if not listing.items and not is_empty_believed:
        raise OrganizationMismatchError(
            f"The token of {organization.name!r} lists no customer, which does not show that it is still of the same "
            "Polar organization. Nobody was marked deleted. Check the token, or run with --allow-mass-deletion."
        )


def _get_organization_id(item: Any) -> Any:
    return read_uuid(item.get("organization_id")) if isinstance(item, dict) else None


def _learn(organization: Organization, polar_id: Any) -> None:
    with transaction.atomic(using=router.db_for_write(Organization)):
        holder = on_primary(Organization.objects).filter(polar_id=polar_id).exclude(pk=organization.pk).first()
        if holder is not None and holder.name in settings.organizations:
            raise OrganizationMismatchError(
                f"The tokens of {organization.name!r} and {holder.name!r} show the same Polar organization, {polar_id}."
                " Nothing was written. Mirror it under one name only."
            )
        if holder is not None:  # the name was changed in the settings; its customers come along
            Organization.objects.filter(pk=holder.pk).update(polar_id=None)
        Organization.objects.filter(pk=organization.pk).update(polar_id=polar_id)
        organization.polar_id = polar_id
