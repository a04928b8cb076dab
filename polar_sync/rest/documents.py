"""What the API's description says of parameters and answers. Nothing here makes an answer: Polar's own JSON does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from polar_sync.rest import shapes_errors as shapes
from polar_sync.rest.listing import Sorting
from polar_sync.rest.shapes import (
    Balance,
    BenefitGrant,
    BenefitGrantList,
    Customer,
    CustomerList,
    CustomerState,
    Meter,
    MeterList,
    PortalCustomer,
    Subscription,
    SubscriptionList,
)
from polar_sync.rest.shapes_sync import Run, RunList, RunStart, StatusList
from polar_sync.rest.shapes_writing import CustomerCreate, CustomerUpdate, CustomerUpdateExternalID

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
    "answer_csv",
    "describe",
    "make_listing",
]

F = TypeVar("F", bound=Callable[..., Any])
_ERRORS: dict[int, Any] = {
    401: OpenApiResponse(shapes.Unauthorized, "No token, or one that is not right"),
    403: OpenApiResponse(shapes.InsufficientScope, "A permission is missing"),
    404: OpenApiResponse(shapes.NotFound, "There is no such object, or not for this caller"),
    405: OpenApiResponse(shapes.Detail, "Writing through is off"),
    409: OpenApiResponse(shapes.Conflict, "It does not fit what is going on"),
    422: OpenApiResponse(shapes.ValidationErrors, "Values do not fit; each is named"),
    429: OpenApiResponse(None, "Over a limit; Retry-After says for how many seconds"),
    502: OpenApiResponse(shapes.Failure, "Polar did not give a usable answer"),
    503: OpenApiResponse(shapes.Failure, "What is needed for this does not answer just now"),
}
_TAGS = {"sync": "synchronization", "customer-portal": "customer portal"}


class PolarSchema(AutoSchema):
    """Operations by the first part of their path; how to sign in is the same for all of them."""

    def get_auth(self) -> list[dict[str, Any]]:
        """The same everywhere, whatever the settings say of authentication."""
        return [{"bearer": []}, {"session": []}]

    def get_tags(self) -> list[str]:
        """One."""
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


def answer_csv(*errors: int) -> dict[Any, Any]:
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
EXTERNAL_ID = OpenApiParameter(
    "external_id", str, OpenApiParameter.PATH, description="Your own id; it may hold slashes."
)
ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Polar's id.")
NO_ID = OpenApiParameter("id", location=OpenApiParameter.PATH, exclude=True)
RUN_ID = OpenApiParameter("id", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH)
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
