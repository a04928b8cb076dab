"""Shapes of what is sent, for the API's description: https://polar.sh/docs/api-reference/customers/create."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers as s

from polar_sync.rest.shapes import Shape

_MAX_NAME = 256
_VALUE = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 500}, {"type": "number"}, {"type": "boolean"}]}
_TYPES = ("individual", "team")


@extend_schema_field({"type": "object", "maxProperties": 50, "additionalProperties": _VALUE})
class _Metadata(s.JSONField):
    pass


def _text(**options: Any) -> s.CharField:
    return s.CharField(required=False, allow_null=True, **options)


class AddressInput(Shape):
    """A billing address."""

    line1 = _text()
    line2 = _text()
    postal_code = _text()
    city = _text()
    state = _text()
    country = s.CharField(help_text="ISO 3166-1 alpha-2, such as FR.")


class MemberOwnerCreate(Shape):
    """The member who owns a new customer."""

    email = s.EmailField()
    name = _text(max_length=_MAX_NAME)
    external_id = _text()


class _Fields(Shape):
    metadata = _Metadata(required=False)
    name = _text(max_length=_MAX_NAME)
    billing_address = AddressInput(required=False, allow_null=True)
    tax_id = _text()
    locale = _text()


class _Create(_Fields):
    external_id = _text()
    organization_id = s.UUIDField(
        required=False, allow_null=True, help_text="Which organization, where there are several."
    )
    owner = MemberOwnerCreate(required=False, allow_null=True)


class CustomerIndividualCreate(_Create):
    """A person."""

    type = s.ChoiceField(("individual",), required=False)
    email = s.EmailField()


class CustomerTeamCreate(_Create):
    """A team: without an email it needs an owner who has one."""

    type = s.ChoiceField(("team",))
    email = s.EmailField(required=False, allow_null=True)


class CustomerUpdateExternalID(_Fields):
    """What is changed by your own id: https://polar.sh/docs/api-reference/customers/update-external."""

    email = s.EmailField(required=False, allow_null=True)


class CustomerUpdate(CustomerUpdateExternalID):
    """What is changed: https://polar.sh/docs/api-reference/customers/update."""

    external_id = _text()
    type = s.ChoiceField(_TYPES, required=False, allow_null=True)


CustomerCreate = PolymorphicProxySerializer(
    component_name="CustomerCreate",
    serializers=[CustomerIndividualCreate, CustomerTeamCreate],
    resource_type_field_name=None,
)
