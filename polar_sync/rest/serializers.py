"""Shapes for the API's description, after https://polar.sh/docs/api-reference/customers/state; more fields may come."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers as s

Serializer = s.Serializer[Any]
_MAX_NAME = 256
_VALUE = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 500}, {"type": "number"}, {"type": "boolean"}]}
_TYPES = ("individual", "team")


def _text(*, required: bool = True) -> s.CharField:
    return s.CharField(allow_null=True, required=required)


def _uuid(*, required: bool = True) -> s.UUIDField:
    return s.UUIDField(allow_null=True, required=required)


def _time() -> s.DateTimeField:
    return s.DateTimeField(allow_null=True)


def _flag() -> s.BooleanField:
    return s.BooleanField(allow_null=True)


def _number() -> s.FloatField:
    return s.FloatField(allow_null=True)


@extend_schema_field({"type": "object", "additionalProperties": True, "nullable": True})
class _Object(s.JSONField):
    pass


@extend_schema_field(
    {"type": "array", "items": {"type": "string"}, "nullable": True, "example": ["911144442", "us_ein"]}
)
class _TaxId(s.JSONField):
    pass


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "account_id": {"type": "string"},
                "account_username": {"type": "string", "nullable": True},
            },
            "required": ["account_id", "account_username"],
        },
    }
)
class _OAuthAccounts(s.JSONField):
    pass


class Address(Serializer):
    """A billing address."""

    line1 = _text(required=False)
    line2 = _text(required=False)
    postal_code = _text(required=False)
    city = _text(required=False)
    state = _text(required=False)
    country = s.CharField()


class _Dated(Serializer):
    id = s.UUIDField()
    created_at = _time()
    modified_at = _time()


class Customer(_Dated):
    """A customer as Polar answers it."""

    metadata = _Object()
    external_id = _text(required=False)
    email = _text(required=False)
    email_verified = _flag()
    type = _text()
    name = _text()
    billing_name = _text()
    billing_address = Address(allow_null=True)
    tax_id = _TaxId()
    locale = _text(required=False)
    organization_id = _uuid()
    default_payment_method_id = _uuid(required=False)
    deleted_at = _time()
    first_user_event_at = _time()
    avatar_url = _text()


class SubscriptionMeter(_Dated):
    """What a subscription has consumed in its period."""

    consumed_units = _number()
    credited_units = _number()
    amount = _number()
    meter_id = _uuid()


class StateSubscription(_Dated):
    """A subscription in a state; amounts are in the currency's smallest unit."""

    metadata = _Object()
    custom_field_data = _Object(required=False)
    status = _text()
    amount = _number()
    currency = _text()
    recurring_interval = _text()
    current_period_start = _time()
    current_period_end = _time()
    trial_start = _time()
    trial_end = _time()
    cancel_at_period_end = _flag()
    canceled_at = _time()
    started_at = _time()
    ends_at = _time()
    product_id = _uuid()
    discount_id = _uuid()
    price_id = _uuid(required=False)
    meters = SubscriptionMeter(many=True)


class StateBenefitGrant(_Dated):
    """A granted benefit in a state."""

    granted_at = _time()
    benefit_id = _uuid()
    benefit_type = _text()
    benefit_metadata = _Object()
    properties = _Object()


class StateMeter(_Dated):
    """A balance on a meter in a state; it may be negative."""

    meter_id = _uuid()
    consumed_units = _number()
    credited_units = _number()
    balance = _number()


class CustomerState(Customer):
    """A customer with what they have."""

    active_subscriptions = StateSubscription(many=True)
    granted_benefits = StateBenefitGrant(many=True)
    active_meters = StateMeter(many=True)


class _Owned(Serializer):
    customer_id = s.UUIDField()
    external_customer_id = _text()
    organization_id = s.UUIDField()


class Subscription(StateSubscription, _Owned):
    """A mirrored subscription, and whose it is."""


class BenefitGrant(StateBenefitGrant, _Owned):
    """A mirrored benefit grant, and whose it is."""


class Meter(StateMeter, _Owned):
    """A mirrored balance on a meter, and whose it is."""


class Pagination(Serializer):
    """`total_count` and `max_page`, or with a cursor `has_next_page` and `next_cursor`."""

    total_count = s.IntegerField(required=False)
    max_page = s.IntegerField(required=False)
    has_next_page = s.BooleanField(required=False)
    next_cursor = s.CharField(required=False, allow_null=True)


class CustomerList(Serializer):
    """A page of customers."""

    items = Customer(many=True)
    pagination = Pagination()


class SubscriptionList(Serializer):
    """A page of subscriptions."""

    items = Subscription(many=True)
    pagination = Pagination()


class BenefitGrantList(Serializer):
    """A page of benefit grants."""

    items = BenefitGrant(many=True)
    pagination = Pagination()


class MeterList(Serializer):
    """A page of meters."""

    items = Meter(many=True)
    pagination = Pagination()


class PortalCustomer(_Dated):
    """A customer as they may see themselves."""

    email = _text()
    email_verified = _flag()
    name = _text()
    billing_name = _text()
    billing_address = Address(allow_null=True)
    tax_id = _TaxId()
    oauth_accounts = _OAuthAccounts()
    default_payment_method_id = _uuid(required=False)
    type = _text(required=False)
    locale = _text(required=False)


class Balance(Serializer):
    """In the currency's smallest unit; positive is credit."""

    balance = s.IntegerField()
    currency = s.CharField()


@extend_schema_field({"type": "object", "maxProperties": 50, "additionalProperties": _VALUE})
class _Metadata(s.JSONField):
    pass


def _sent_text(**options: Any) -> s.CharField:
    return s.CharField(required=False, allow_null=True, **options)


class AddressInput(Serializer):
    """A billing address."""

    line1 = _sent_text()
    line2 = _sent_text()
    postal_code = _sent_text()
    city = _sent_text()
    state = _sent_text()
    country = s.CharField(help_text="ISO 3166-1 alpha-2, such as FR.")


class MemberOwnerCreate(Serializer):
    """The member who owns a new customer."""

    email = s.EmailField()
    name = _sent_text(max_length=_MAX_NAME)
    external_id = _sent_text()


class _Fields(Serializer):
    metadata = _Metadata(required=False)
    name = _sent_text(max_length=_MAX_NAME)
    billing_address = AddressInput(required=False, allow_null=True)
    tax_id = _sent_text()
    locale = _sent_text()


class _Create(_Fields):
    external_id = _sent_text()
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

    external_id = _sent_text()
    type = s.ChoiceField(_TYPES, required=False, allow_null=True)


CustomerCreate = PolymorphicProxySerializer(
    component_name="CustomerCreate",
    serializers=[CustomerIndividualCreate, CustomerTeamCreate],
    resource_type_field_name=None,
)
