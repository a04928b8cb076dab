"""What the API's description says of parameters and responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework import serializers as s

from polar_sync.rest.pagination import Sorting
from polar_sync.rest.serializers import (
    Balance,
    BenefitGrant,
    BenefitGrantList,
    Customer,
    CustomerCreate,
    CustomerList,
    CustomerState,
    CustomerUpdate,
    CustomerUpdateExternalID,
    Meter,
    MeterList,
    Pagination,
    PortalCustomer,
    Serializer,
    Subscription,
    SubscriptionList,
)

F = TypeVar("F", bound=Callable[..., Any])
_TAGS = {"sync": "synchronization", "customer-portal": "customer portal"}
EXTERNAL_ID = OpenApiParameter(
    "external_id", str, OpenApiParameter.PATH, description="Your own id; it may hold slashes."
)
ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Polar's id.")
NO_ID = OpenApiParameter("id", location=OpenApiParameter.PATH, exclude=True)
RUN_ID = OpenApiParameter("id", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH)


@extend_schema_field({"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}})
class _Location(s.JSONField):
    pass


@extend_schema_field({})
class _Anything(s.JSONField):
    pass


class Failure(Serializer):
    """What went wrong beyond the caller's reach."""

    error = s.CharField()
    detail = s.CharField()


class Unauthorized(Serializer):
    """`detail` without a token, `error_description` with one that is not right."""

    error = s.CharField()
    detail = s.CharField(required=False)
    error_description = s.CharField(required=False)


class InsufficientScope(Unauthorized):
    """WWW-Authenticate names the scopes that would do."""


class NotFound(Serializer):
    """`error` is `ResourceNotFound` for an object; a path that there is not has none."""

    error = s.CharField(required=False)
    detail = s.CharField()


class Detail(Serializer):
    """Some words."""

    detail = s.CharField()


class Conflict(Failure):
    """With the run that is in the way."""

    run = s.IntegerField(required=False)


class ValidationDetail(Serializer):
    """One value that does not fit."""

    type = s.CharField()
    loc = _Location()
    msg = s.CharField()
    input = _Anything(required=False)
    ctx = s.DictField(required=False)


class ValidationErrors(Serializer):
    """All values that do not fit."""

    error = s.CharField()
    detail = ValidationDetail(many=True)


class RunFailure(Serializer):
    """A customer that a run could not mirror."""

    customer_id = s.CharField()
    reason = s.CharField()


class LastRun(Serializer):
    """How a run ended."""

    id = s.IntegerField()
    status = s.CharField()
    reason = s.CharField()
    finished_at = s.DateTimeField(allow_null=True)
    failed = s.IntegerField()


class Run(Serializer):
    """A run: each customer counts once, `listed` is the sum of the six outcomes."""

    id = s.IntegerField()
    organization = s.CharField()
    status = s.CharField()
    reason = s.CharField()
    detail = s.CharField()
    started_at = s.DateTimeField(allow_null=True)
    heartbeat_at = s.DateTimeField(allow_null=True)
    finished_at = s.DateTimeField(allow_null=True)
    listed = s.IntegerField()
    created = s.IntegerField()
    updated = s.IntegerField()
    unchanged = s.IntegerField()
    stale = s.IntegerField()
    deleted = s.IntegerField()
    failed = s.IntegerField()
    requests = s.IntegerField()
    throttled_seconds = s.FloatField()
    failures = RunFailure(many=True, required=False)


class RunList(Serializer):
    """A page of runs."""

    items = Run(many=True)
    pagination = Pagination()


class RunStart(Serializer):
    """`organization` may be left out where there is only one."""

    organization = s.CharField(required=False)
    is_mass_deletion_allowed = s.BooleanField(required=False)


class Status(Serializer):
    """How one organization's mirror is doing."""

    organization = s.CharField()
    organization_id = s.UUIDField(allow_null=True)
    last_succeeded_at = s.DateTimeField(allow_null=True)
    age_seconds = s.FloatField(allow_null=True)
    complete_as_of = s.DateTimeField(allow_null=True)
    told_until = s.DateTimeField(allow_null=True)
    webhook_problem = s.CharField(allow_null=True)
    customers = s.IntegerField()
    stale_customers = s.IntegerField()
    failed_customers = s.IntegerField()
    last_run = LastRun(allow_null=True)


class StatusList(Serializer):
    """All organizations."""

    items = Status(many=True)


__all__ = [
    "Balance",
    "BenefitGrant",
    "BenefitGrantList",
    "Customer",
    "CustomerCreate",
    "CustomerList",
    "CustomerState",
    "CustomerUpdate",
    "CustomerUpdateExternalID",
    "Meter",
    "MeterList",
    "PolarSchema",
    "PortalCustomer",
    "Run",
    "RunList",
    "RunStart",
    "StatusList",
    "Subscription",
    "SubscriptionList",
    "answer",
    "csv_response",
    "describe",
    "make_listing",
]

_ERRORS: dict[int, Any] = {
    401: OpenApiResponse(Unauthorized, "No token, or one that is not right"),
    403: OpenApiResponse(InsufficientScope, "A permission is missing"),
    404: OpenApiResponse(NotFound, "There is no such object, or not for this caller"),
    405: OpenApiResponse(Detail, "Writing through is off"),
    409: OpenApiResponse(Conflict, "It does not fit what is going on"),
    422: OpenApiResponse(ValidationErrors, "Values do not fit; each is named"),
    429: OpenApiResponse(None, "Over a limit; Retry-After says for how many seconds"),
    502: OpenApiResponse(Failure, "Polar did not give a usable answer"),
    503: OpenApiResponse(Failure, "What is needed for this does not answer just now"),
}


class PolarSchema(AutoSchema):
    """Operations by the first part of their path; how to sign in is the same for all of them."""

    def get_auth(self) -> list[dict[str, Any]]:
        """The same everywhere, whatever the settings say of authentication."""
        return [{"bearer": []}, {"session": []}]

    def get_tags(self) -> list[str]:
        part = self.path.removeprefix("/v1/").partition("/")[0]
        return [_TAGS.get(part, part)]


def describe(**options: Any) -> Callable[[F], F]:
    """`extend_schema` for a view's method, whatever the project's schema class is."""

    def decorate(method: F) -> F:
        kwargs: dict[str, Any] = {"schema": PolarSchema, **getattr(method, "kwargs", {})}
        method.kwargs = kwargs  # type: ignore[attr-defined] # where drf-spectacular looks for it
        return extend_schema(**options)(method)

    return decorate


def answer(shape: type[serializers.Serializer[Any]] | None, *errors: int, status: int = 200) -> dict[int, Any]:
    """The answers of an operation."""
    return {status: OpenApiResponse(shape) if shape else OpenApiResponse(None, "Done"), **_get_errors(errors)}


def csv_response(*errors: int) -> dict[Any, Any]:
    """The same of an export."""
    return {(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "CSV"), **_get_errors(errors)}


def _get_errors(statuses: tuple[int, ...]) -> dict[Any, Any]:
    return {(status, "application/json"): _ERRORS[status] for status in statuses}


def _query(name: str, kind: Any, description: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def _repeat(name: str, kind: Any, description: str, **more: Any) -> OpenApiParameter:
    return _query(name, kind, f"{description} Repeated: any of them.", many=True, **more)


def make_listing(sorting: Sorting) -> list[OpenApiParameter]:
    """Paging and sorting of a list."""
    description = "Repeated: in this order; ties by id."
    return [
        *PAGING,
        _query("cursor", str, "Empty for the first page, then the next_cursor of the answer before; instead of page."),
        _query("sorting", str, description, many=True, enum=sorting.choices, default=list(sorting.default)),
    ]


PAGING = [
    _query("page", {"type": "integer", "minimum": 1, "default": 1}, "Page number, from 1."),
    _query("limit", {"type": "integer", "minimum": 1, "default": 10}, "Size of a page; over 100 is 100."),
]
LISTING = make_listing(Sorting(("created_at", "email", "name"), default=("-created_at",)))
ORGANIZATION = _repeat("organization_id", OpenApiTypes.UUID, "Polar's id of an organization.")
ANONYMIZE = _query("anonymize", bool, "Remove what tells of the person, too.", default=False)
STALE_AFTER = _query(
    "stale_after",
    {"type": "integer", "minimum": 1, "maximum": 315_360_000, "default": 86_400},
    "Seconds after which a state that Polar has not confirmed counts as stale.",
)
CUSTOMER_FILTERS = [
    ORGANIZATION,
    _query("email", str, "Exact but for case."),
    _query("query", str, "Part of email, name or billing name, or the beginning of the external id."),
    _query("active", bool, "Has a trialing, active or past_due subscription, as far as the mirror knows of it."),
    OpenApiParameter(
        "metadata",
        {"type": "object", "additionalProperties": {"type": "string"}},
        OpenApiParameter.QUERY,
        style="deepObject",
        explode=True,
        description="metadata[key]=value: equality with the value's text. One key repeated is OR, several are AND.",
    ),
]
_CHILD_FILTERS = [
    ORGANIZATION,
    _repeat("customer_id", OpenApiTypes.UUID, "Polar's id of a customer."),
    _repeat("external_customer_id", str, "Your own id of a customer."),
]
SUBSCRIPTION_FILTERS = [
    *_CHILD_FILTERS,
    _repeat("product_id", OpenApiTypes.UUID, "Of this product."),
    _repeat("status", str, "active, trialing, and past_due where it is known."),
    _query("current_period_end_before", OpenApiTypes.DATETIME, "Whose period ends before."),
    _query("current_period_end_after", OpenApiTypes.DATETIME, "Whose period ends after."),
    _query("cancel_at_period_end", bool, "Whether it ends with its period."),
]
BENEFIT_GRANT_FILTERS = [
    *_CHILD_FILTERS,
    _repeat("benefit_id", OpenApiTypes.UUID, "Of this benefit."),
    _repeat("benefit_type", str, "Of this type, such as feature_flag."),
    _query("is_granted", bool, "All that are mirrored are granted."),
]
METER_FILTERS = [
    *_CHILD_FILTERS,
    _repeat("meter_id", OpenApiTypes.UUID, "On this meter."),
    _query("balance_below", OpenApiTypes.DOUBLE, "Whose balance is less."),
]
RUN_FILTERS = [
    _repeat("organization", str, "An organization's name in the settings."),
    _repeat("status", str, "Of this status.", enum=["running", "succeeded", "partial", "failed"]),
]
