"""What the caller asks, as Polar's query parameters and request bodies."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from polar_sync.exceptions import ConfigurationError

MetadataValue = str | int | float | bool
MetadataFilter = Mapping[str, MetadataValue | Iterable[MetadataValue]]
OrganizationFilter = str | UUID | Iterable[str | UUID]
Query = list[tuple[str, str]]


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
    if active is not None:
        pairs.append(("active", "true" if active else "false"))
    pairs += [("page", str(page)), ("limit", str(limit))]
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
