"""What is asked of Polar: servers, versions, paths, query parameters and request bodies."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from polar_sync.exceptions import ConfigurationError

MetadataValue = str | int | float | bool
MetadataFilter = Mapping[str, MetadataValue | Iterable[MetadataValue]]
OrganizationFilter = str | UUID | Iterable[str | UUID]
Query = list[tuple[str, str]]
PRODUCTION = "https://api.polar.sh"
SANDBOX = "https://sandbox-api.polar.sh"
SERVERS = {"production": PRODUCTION, "sandbox": SANDBOX}
CUSTOMERS = "/v1/customers/"
CUSTOMERS_EXPORT = "/v1/customers/export"
PORTAL_CUSTOMER = "/v1/customer-portal/customers/me"
WEBHOOK_ENDPOINTS = "/v1/webhooks/endpoints"
WEBHOOK_EVENTS = "/v1/webhooks/events"
WEBHOOK_DELIVERIES = "/v1/webhooks/deliveries"
API_VERSION = "2026-04"
"""What the client asks for, as all of this was checked against it, and what a request without a version means."""
API_VERSIONS = (API_VERSION, "2026-10")
"""What is served; the two are equal in every operation on customers."""


def build_list_query(
    *,
    organization_id: OrganizationFilter | None,
    email: str | None,
    query: str | None,
    active: bool | None,
    page: int,
    limit: int,
    sorting: str | Iterable[str] | None,
    metadata: MetadataFilter | None,
) -> Query:
    """Return the parameters of https://polar.sh/docs/api-reference/customers/list as pairs, in order."""
    pairs: Query = build_organization_query(organization_id)
    pairs += [(name, value) for name, value in (("email", email), ("query", query)) if value is not None]
    pairs += [*build_truth_query("active", active), ("page", str(page)), ("limit", str(limit))]
    if sorting is not None:
        pairs += [("sorting", criterion) for criterion in ([sorting] if isinstance(sorting, str) else sorting)]
    return pairs + _build_metadata_query(metadata or {})


def build_organization_query(organization_id: OrganizationFilter | None) -> Query:
    """Return `organization_id`, repeated for each; None gives none."""
    return build_repeated_query("organization_id", organization_id)


def build_repeated_query(name: str, value: str | UUID | Iterable[str | UUID] | None) -> Query:
    """Return `name`, repeated for each value; None gives none, and an empty list is an error as in every filter."""
    if value is None:
        return []
    values = [value] if isinstance(value, str | UUID) else list(value)
    if not values:
        raise ConfigurationError(f"{name} is an empty list; Polar would take it for no filter at all.")
    return [(name, str(each)) for each in values]


def build_truth_query(name: str, value: bool | None) -> Query:
    """Return `name` as "true" or "false"; None gives none."""
    return [] if value is None else [(name, "true" if value else "false")]


def format_instant(value: datetime) -> str:
    """Return an aware datetime as Polar writes it, in UTC with microseconds; else raise ConfigurationError."""
    if value.utcoffset() is None:
        raise ConfigurationError(f"A time that Polar is asked for has a time zone; {value.isoformat()} has none.")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _build_metadata_query(metadata: MetadataFilter) -> Query:
    pairs: Query = []
    for key, value in metadata.items():
        if not key or "]" in key:
            raise ConfigurationError(
                f"The metadata key {key!r} cannot be asked for: Polar reads a key up to the first ']', "
                "and not an empty one."
            )
        values = [value] if isinstance(value, str | int | float) else list(value or ())
        if not values:
            raise ConfigurationError(
                f"metadata[{key!r}] is empty; Polar would take it for no filter at all. Leave the key out instead."
            )
        pairs += [(f"metadata[{key}]", format_metadata_value(each)) for each in values]
    return pairs


def format_metadata_value(value: MetadataValue) -> str:
    """Return the text that Polar compares a stored metadata value by: `true`, `1`, `0.5`, never an exponent."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float() if math.isfinite(value):
            return format(Decimal(repr(value)), "f")
        case _:
            raise ConfigurationError(f"A metadata value is text, an integer, a float or a bool, not {value!r}.")


def encode_query(pairs: Query) -> str:
    """Return the query string, or "" for no pairs; a lone surrogate raises ConfigurationError."""
    try:
        return urlencode(pairs, quote_via=quote)
    except UnicodeEncodeError:
        pass
    raise ConfigurationError("A filter holds half a character (a lone surrogate), which no URL can carry.")


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Return the fields as a JSON body; UUIDs become text, what JSON cannot say raises ConfigurationError."""
    try:
        return json.dumps(fields, allow_nan=False, default=_encode_value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise ConfigurationError(f"These fields cannot be sent to Polar as JSON: {reason}.")


def _encode_value(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def resolve_server(server: str) -> str:
    """Return the base URL, without a slash at its end, of "production", "sandbox" or an http(s) URL.

    https://polar.sh/docs/integrate/sandbox. Anything else raises ConfigurationError.
    """
    if server in SERVERS:
        return SERVERS[server]
    if not _is_base_url(server):
        # What looks like `user:password@host` is not repeated: it would put the password into a log.
        shown = "" if "@" in str(server) else f", not {server!r}"
        raise ConfigurationError(
            'The server must be "production", "sandbox" or an address such as "https://api.example.com" '
            f"without user, query and fragment{shown}."
        )
    return server.rstrip("/")


def _is_base_url(server: object) -> bool:
    if not isinstance(server, str) or any(character.isspace() or not character.isprintable() for character in server):
        return False
    try:
        parts = urlsplit(server)
        has_valid_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_bare = "@" not in parts.netloc and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_valid_port and is_bare


def build_customer_path(customer_id: str | UUID, *, suffix: str = "") -> str:
    """Return the path of a customer by Polar's id, which must be a UUID (else ConfigurationError)."""
    try:
        canonical = UUID(str(customer_id))
    except ValueError:
        canonical = None
    if canonical is None:
        raise ConfigurationError(
            f"A customer's id on Polar is a UUID, not {customer_id!r}; "
            "for an id of your own use the operations on external ids."
        )
    return f"{CUSTOMERS}{canonical}{suffix}"


def build_endpoint_path(endpoint_id: str | UUID, *, suffix: str = "") -> str:
    """Return the path of a webhook endpoint by Polar's id, which must be a UUID (else ConfigurationError)."""
    return f"{WEBHOOK_ENDPOINTS}/{_check_id(endpoint_id, of='a webhook endpoint')}{suffix}"


def build_event_path(event_id: str | UUID) -> str:
    """Return the path that has an event delivered again; its id must be a UUID (else ConfigurationError)."""
    return f"{WEBHOOK_EVENTS}/{_check_id(event_id, of='a webhook event')}/redeliver"


def _check_id(value: str | UUID, *, of: str) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        pass
    # Not repeated: somebody may have taken the secret for the id.
    raise ConfigurationError(f"The id of {of} on Polar is a UUID, and what was given is none.")


def build_external_path(external_id: str, *, suffix: str = "") -> str:
    """Return the path of a customer by its external id, percent-encoded.

    ConfigurationError where Polar cannot be asked for it: an id that is empty, holds a `/` (its router takes even
    `%2F` for the end of the id), is `.` or `..` (every HTTP library drops them from a path), or is no valid Unicode.
    """
    if not _is_text(external_id):
        raise ConfigurationError(f"An external id is a text that is not empty, not {external_id!r}.")
    if "/" in external_id:
        raise ConfigurationError(
            f"Polar cannot be asked for the external id {external_id!r}: it holds a '/'. "
            "Use the customer's id on Polar."
        )
    if external_id in {".", ".."}:
        raise ConfigurationError(
            f"Polar cannot be asked for the external id {external_id!r}: it means a folder in a path. "
            "Use the customer's id on Polar."
        )
    try:
        encoded = quote(external_id, safe="")
    except UnicodeEncodeError:
        encoded = ""
    if not encoded:
        raise ConfigurationError(f"The external id {external_id!r} holds half a character (a lone surrogate).")
    return f"{CUSTOMERS}external/{encoded}{suffix}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def choose_version(asked: str | None) -> str | None:
    """The version that a header asks for: absent and empty are the current one. None where it is not served."""
    version = asked or API_VERSION
    return version if version in API_VERSIONS else None
