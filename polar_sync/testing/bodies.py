"""Request bodies: read and checked against the schemas of the operations that take one.

The schemas: https://polar.sh/docs/api-reference/customers/create, `.../update` and
https://polar.sh/docs/api-reference/customer-portal/sessions/create.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from polar_sync.testing.http import Detail, RefusalError, Request, json_response, refuse_request
from polar_sync.testing.validation import (
    MAX_NAME,
    Location,
    check_email,
    check_metadata,
    check_text,
    check_uuid,
    make_detail,
)

CREATE_FIELDS = (
    "metadata",
    "external_id",
    "name",
    "billing_address",
    "tax_id",
    "locale",
    "organization_id",
    "owner",
    "email",
)
UPDATE_FIELDS = (
    "metadata",
    "email",
    "name",
    "billing_address",
    "tax_id",
    "locale",
    "external_id",
    "type",
)
UPDATE_EXTERNAL_FIELDS = ("metadata", "email", "name", "billing_address", "tax_id", "locale")
TYPES = ("individual", "team")
# Everything else may be null: in a create that is the default, in an update it clears.
NEVER_NULL = frozenset({"metadata"})


def read_body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; raises the 422 that Polar answers where there is none."""
    body = _read_json(request) if request.body else None
    if body is None:
        raise refuse_request([make_detail("missing", ("body",), "Field required", None)])
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise refuse_request([make_detail("model_attributes_type", ("body",), message, body)])
    return body


def _read_json(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except json.JSONDecodeError as error:
        context = {"error": error.msg}
        message = "JSON decode error"
        detail = make_detail("json_invalid", ("body", error.pos), message, {}, **context)
        raise refuse_request([detail]) from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise RefusalError(json_response({"detail": "There was an error parsing the body"}, status=400)) from None


def read_create(request: Request) -> dict[str, Any]:
    """The fields of a customer to create; `type` is always among them."""
    body = read_body(request)
    kind = body.get("type", "individual")
    if kind not in TYPES:
        message = f"Input tag '{kind}' found using 'type' does not match any of the expected tags: 'individual', 'team'"
        context = {"discriminator": "'type'", "tag": str(kind), "expected_tags": "'individual', 'team'"}
        raise refuse_request([make_detail("union_tag_invalid", ("body",), message, body, **context)])
    location: Location = ("body", kind)
    wrong = check_fields(body, CREATE_FIELDS, location=location)
    if kind == "individual" and body.get("email") is None:
        wrong = [detail for detail in wrong if detail["loc"] != [*location, "email"]]
        wrong.append(_miss_email(body, location=location))
    if wrong:
        raise refuse_request(wrong)
    return {name: body[name] for name in CREATE_FIELDS if name in body} | {"type": kind}


def _miss_email(body: dict[str, Any], *, location: Location) -> Detail:
    if "email" in body:
        return make_detail("string_type", (*location, "email"), "Input should be a valid string", None)
    return make_detail("missing", (*location, "email"), "Field required", body)


def read_update(request: Request, *, fields: tuple[str, ...]) -> dict[str, Any]:
    """The fields to change; those that the operation does not know are left out."""
    body = read_body(request)
    wrong = check_fields(body, fields, location=("body",))
    if wrong:
        raise refuse_request(wrong)
    return {name: body[name] for name in fields if name in body}


def read_session(request: Request) -> tuple[str, str]:
    """`customer_id` or `external_customer_id`, and its value."""
    body = read_body(request)
    if "external_customer_id" in body:
        name = "external_customer_id"
        wrong = check_text(body[name], location=("body", name))
    elif "customer_id" in body:
        name = "customer_id"
        wrong = check_uuid(body[name], location=("body", name))
    else:
        name = "customer_id"
        wrong = [make_detail("missing", ("body", name), "Field required", body)]
    if wrong:
        raise refuse_request(wrong)
    return name, body[name]


def check_fields(body: dict[str, Any], names: Iterable[str], *, location: Location) -> list[Detail]:
    """What is wrong with those of `names` that `body` holds, in that order."""
    wrong: list[Detail] = []
    for name in names:
        if name in body and (body[name] is not None or name in NEVER_NULL):
            wrong += _CHECKS[name](body[name], location=(*location, name))
    return wrong


def _check_any_text(value: Any, *, location: Location) -> list[Detail]:
    return check_text(value, location=location)


def _check_name(value: Any, *, location: Location) -> list[Detail]:
    return check_text(value, location=location, max_length=MAX_NAME)


def _check_type(value: Any, *, location: Location) -> list[Detail]:
    if value in TYPES:
        return []
    expected = "'individual' or 'team'"
    return [make_detail("enum", location, f"Input should be {expected}", value, expected=expected)]


def _check_object(
    value: Any, *, location: Location, required: str, checks: dict[str, Callable[..., list[Detail]]]
) -> list[Detail]:
    if not isinstance(value, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        return [make_detail("model_attributes_type", location, message, value)]
    if required not in value:
        return [make_detail("missing", (*location, required), "Field required", value)]
    wrong: list[Detail] = []
    for name, check in checks.items():
        if name == required or value.get(name) is not None:
            wrong += check(value.get(name), location=(*location, name))
    return wrong


def _check_country(value: Any, *, location: Location) -> list[Detail]:
    wrong = check_text(value, location=location)
    if wrong or (len(value) == len("FR") and value.isascii() and value.isalpha() and value.isupper()):
        return wrong
    expected = "an ISO 3166-1 alpha-2 country code"
    return [make_detail("enum", location, f"Input should be {expected}", value, expected=expected)]


def _check_address(value: Any, *, location: Location) -> list[Detail]:
    return _check_object(value, location=location, required="country", checks=_ADDRESS_CHECKS)


def _check_owner(value: Any, *, location: Location) -> list[Detail]:
    checks = {"email": check_email, "name": _check_name, "external_id": _check_any_text}
    return _check_object(value, location=location, required="email", checks=checks)


_ADDRESS_CHECKS: dict[str, Callable[..., list[Detail]]] = {
    "line1": _check_any_text,
    "line2": _check_any_text,
    "postal_code": _check_any_text,
    "city": _check_any_text,
    "state": _check_any_text,
    "country": _check_country,
}
_CHECKS: dict[str, Callable[..., list[Detail]]] = {
    "metadata": check_metadata,
    "external_id": _check_any_text,
    "name": _check_name,
    "billing_address": _check_address,
    "tax_id": _check_any_text,
    "locale": _check_any_text,
    "organization_id": check_uuid,
    "owner": _check_owner,
    "email": check_email,
    "type": _check_type,
}
