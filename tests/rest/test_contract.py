"""The API's description beside Polar's contract: what differs is listed here, with the reason.

A difference that is not listed fails, and so does one that is listed and gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OWN = json.loads((Path(__file__).parent / "openapi.json").read_text())
PREFIXES = ("/v1/customers/", "/v1/customer-portal/customers/me")

_SEVERAL = "Of several organizations it says whose external id is meant."
_CURSOR = "With a cursor nothing is counted, and the answer tells where the next page begins."
_TYPES = "They differ by the type of benefit, and new types come without notice."
_PRICE = "Deprecated: Polar answers it and has taken it out of its contract."
KNOWN = {
    "customer_portal:customers:update: missing": "Customers change themselves on Polar.",
    "customers:get_balance: only here": "Polar's servers of 2026 no longer have it; older ones are asked.",
    "customers:refresh: only here": "Asks Polar now.",
    "customers:list: parameter cursor only here": _CURSOR,
    "customers:list: answer pagination.total_count not required": _CURSOR,
    "customers:list: answer pagination.max_page not required": _CURSOR,
    "customers:list: answer pagination.has_next_page only here": _CURSOR,
    "customers:list: answer pagination.next_cursor only here": _CURSOR,
    **{
        f"{operation}: parameter organization_id only here": _SEVERAL
        for operation in (
            *("customers:get_external", "customers:update_external", "customers:delete_external"),
            *("customers:get_state_external", "customer_portal:customers:get"),
        )
    },
    **{
        f"{operation}: answer {difference}": reason
        for operation in ("customers:get_state", "customers:get_state_external")
        for difference, reason in {
            "active_subscriptions.price_id only here": _PRICE,
            "granted_benefits.properties without its fields": _TYPES,
        }.items()
    },
}


def resolve(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def get_variants(description: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that a schema may be; null is not one."""
    schema = resolve(description, schema)
    parts = [one for name in ("oneOf", "anyOf", "allOf") for one in schema.get(name, ())]
    found = [variant for one in parts for variant in get_variants(description, one)]
    return found or ([schema] if schema.get("properties") or schema.get("items") else [])


def list_fields(description: dict[str, Any], schema: dict[str, Any], place: str = "") -> dict[str, bool]:
    """Every field by its path, and whether each variant requires it; free objects have none."""
    fields: dict[str, bool] = {}
    variants = get_variants(description, schema)
    for variant in variants:
        if "items" in variant:
            fields |= list_fields(description, variant["items"], place)
        for name, inner in variant.get("properties", {}).items():
            path = f"{place}{name}"
            is_required = all(name in one.get("required", ()) for one in variants)
            fields[path] = is_required
            fields |= list_fields(description, inner, f"{path}.")
    return fields


def list_operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path, methods in description["paths"].items()
        for operation in methods.values()
        if path.startswith(PREFIXES)
    }


def compare_fields(theirs: dict[str, bool], ours: dict[str, bool], what: str) -> Iterator[str]:
    free = [name for name in ours if _has_parts(theirs, name) and not _has_parts(ours, name)]
    yield from (f"{what} {name} without its fields" for name in free)
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in ours and not any(name.startswith(f"{one}.") for one in free):
            yield f"{what} {name} missing"
        elif name not in theirs:
            yield f"{what} {name} only here"
        elif name in ours and theirs[name] != ours[name]:
            yield f"{what} {name} {'required' if ours[name] else 'not required'}"


def _has_parts(fields: dict[str, bool], name: str) -> bool:
    return any(one.startswith(f"{name}.") for one in fields)


def get_content(described: dict[str, Any]) -> dict[str, Any]:
    for media in described.get("content", {}).values():
        schema: dict[str, Any] = media.get("schema", {})
        return schema
    return {}


def compare_operations(contract: dict[str, Any], name: str) -> Iterator[str]:
    both = ((contract, list_operations(contract)[name]), (OWN, list_operations(OWN)[name]))
    theirs, ours = (
        {one["name"]: one.get("required", False) for one in operation.get("parameters", ())} for _, operation in both
    )
    yield from compare_fields(theirs, ours, "parameter")
    bodies = [(description, get_content(operation.get("requestBody", {}))) for description, operation in both]
    kinds = [get_variants(description, schema) for description, schema in bodies]
    assert len(kinds[0]) == len(kinds[1])
    for number in range(len(kinds[0])):
        theirs, ours = (list_fields(one, kind[number]) for (one, _), kind in zip(bodies, kinds, strict=True))
        yield from compare_fields(theirs, ours, "body")
    status = next(code for code in both[0][1]["responses"] if code.startswith("2"))
    theirs, ours = (
        list_fields(description, get_content(operation["responses"][status])) for description, operation in both
    )
    yield from compare_fields(theirs, ours, "answer")


def test_differences_from_polars_contract_are_the_known_ones(contract: dict[str, Any]) -> None:
    theirs, ours = list_operations(contract), list_operations(OWN)
    found = [f"{name}: missing" for name in theirs.keys() - ours.keys()]
    found += [f"{name}: only here" for name in ours.keys() - theirs.keys()]
    for name in theirs.keys() & ours.keys():
        found += [f"{name}: {difference}" for difference in compare_operations(contract, name)]
    assert sorted(found) == sorted(KNOWN)


def test_comparison_finds_what_is_missing(contract: dict[str, Any]) -> None:
    fields = list_fields(contract, {"$ref": "#/components/schemas/CustomerState"})
    assert fields["active_subscriptions.meters.consumed_units"] is True
    assert fields["external_id"] is False
    theirs, ours = {"a": True, "b": False, "d": True, "d.e": True}, {"b": True, "c": False, "d": True}
    assert list(compare_fields(theirs, ours, "answer")) == [
        *("answer d without its fields", "answer a missing", "answer b required", "answer c only here"),
    ]
