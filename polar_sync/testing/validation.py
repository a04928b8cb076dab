"""Single values as Polar checks them, with the error details that it gives (those of pydantic 2).

Each check returns the details of what is wrong, an empty list where nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from polar_sync.payloads import texts
from polar_sync.testing.http import Detail

Location = tuple[str | int, ...]

MAX_NAME = 256
MAX_METADATA_KEY = 40
MAX_METADATA_TEXT = 500
MAX_METADATA_PAIRS = 50
CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# A value that fits no member of the union is reported once for each of them.
_OBJECT_AS: Sequence[tuple[str, str, str]] = (
    ("int_type", "int", "Input should be a valid integer"),
    ("float_type", "float", "Input should be a valid number"),
    ("bool_type", "bool", "Input should be a valid boolean"),
)
_TEXT_AS: Sequence[tuple[str, str, str]] = (
    ("int_parsing", "int", "Input should be a valid integer, unable to parse string as an integer"),
    ("float_parsing", "float", "Input should be a valid number, unable to parse string as a number"),
    ("bool_parsing", "bool", "Input should be a valid boolean, unable to interpret input"),
)


def make_detail(kind: str, location: Iterable[str | int], message: str, value: Any, **context: Any) -> Detail:
    """One entry of a 422's `detail`."""
    detail: Detail = {"type": kind, "loc": list(location), "msg": message, "input": value}
    if context:
        detail["ctx"] = context
    return detail


def check_uuid(value: Any, *, location: Location) -> list[Detail]:
    """A UUID of version 4 in any of its usual spellings."""
    if not isinstance(value, str):
        message = "UUID input should be a string, bytes or UUID object"
        return [make_detail("uuid_type", location, message, value)]
    return _check(texts.read_uuid4, value, location=location)


def check_uuids(values: Sequence[str], *, location: Location) -> list[Detail]:
    """All values of a repeated parameter, of which Polar tells first that several are not one."""
    wrong = [
        detail
        for index, value in enumerate(values)
        for detail in check_uuid(value, location=(*location, texts.SEVERAL_IDS, index))
    ]
    return [*check_uuid(list(values), location=(*location, texts.ONE_ID)), *wrong] if wrong else []


def _check(reader: Callable[[str], object], value: str, *, location: Location) -> list[Detail]:
    try:
        reader(value)
    except texts.TextError as error:
        return [make_detail(error.kind, location, error.message, value, **error.context)]
    return []


def read_uuid(value: str) -> str | None:
    """The canonical text of a UUID, None where `value` is none."""
    if CANONICAL_UUID.fullmatch(value):
        return value
    try:
        return str(texts.read_uuid4(value))
    except texts.TextError:
        return None


def check_positive(text: str, *, location: Location) -> list[Detail]:
    """A whole number above 0, as text from a query."""
    wrong = _check(texts.read_integer, text, location=location)
    if wrong or texts.read_integer(text) > 0:
        return wrong
    return [make_detail("greater_than", location, "Input should be greater than 0", text, gt=0)]


def check_bool_text(text: str, *, location: Location) -> list[Detail]:
    """A boolean, as text from a query."""
    return _check(texts.read_bool, text, location=location)


def check_text(value: Any, *, location: Location, max_length: int | None = None, min_length: int = 0) -> list[Detail]:
    """Text of a limited length."""
    if not isinstance(value, str):
        return [make_detail("string_type", location, "Input should be a valid string", value)]
    if len(value) < min_length:
        message = f"String should have at least {min_length} character{'s' if min_length > 1 else ''}"
        return [make_detail("string_too_short", location, message, value, min_length=min_length)]
    if max_length is not None and len(value) > max_length:
        message = f"String should have at most {max_length} characters"
        return [make_detail("string_too_long", location, message, value, max_length=max_length)]
    return []


def check_email(value: Any, *, location: Location) -> list[Detail]:
    """An email address, by its form only."""
    wrong = check_text(value, location=location)
    if wrong:
        return wrong
    reason = explain_email(value)
    if reason is None:
        return []
    message = f"value is not a valid email address: {reason}"
    return [make_detail("value_error", location, message, value, reason=reason)]


def explain_email(value: str) -> str | None:
    """Why `value` is no email address, None where it is one."""
    local, at, domain = value.rpartition("@")
    if not at:
        return "An email address must have an @-sign."
    if not local:
        return "There must be something before the @-sign."
    if not domain:
        return "There must be something after the @-sign."
    if "@" in local or any(character.isspace() for character in value):
        return "The email address contains invalid characters before the @-sign."
    if "." not in domain.strip("."):
        return "The part after the @-sign is not valid. It should have a period."
    return None


def normalize_email(value: str) -> str:
    """The domain in lower case, the part before it as it was given."""
    local, _, domain = value.rpartition("@")
    return f"{local}@{domain.lower()}"


def check_metadata(value: Any, *, location: Location) -> list[Detail]:
    """Metadata: at most 50 pairs of short keys and text, int, float or bool."""
    if not isinstance(value, dict):
        return [make_detail("dict_type", location, "Input should be a valid dictionary", value)]
    if len(value) > MAX_METADATA_PAIRS:
        message = f"Dictionary should have at most {MAX_METADATA_PAIRS} items after validation, not {len(value)}"
        context = {
            "field_type": "Dictionary",
            "max_length": MAX_METADATA_PAIRS,
            "actual_length": len(value),
        }
        return [make_detail("too_long", location, message, value, **context)]
    wrong: list[Detail] = []
    for key, item in value.items():
        wrong += check_text(key, location=(*location, key, "[key]"), max_length=MAX_METADATA_KEY, min_length=1)
        wrong += _check_metadata_value(item, location=(*location, key))
    return wrong


def _check_metadata_value(value: Any, *, location: Location) -> list[Detail]:
    if isinstance(value, bool | int | float):
        return []
    text = check_text(value, location=(*location, "constrained-str"), max_length=MAX_METADATA_TEXT, min_length=1)
    if not text:
        return []
    return text + [
        make_detail(kind, (*location, name), message, value)
        for kind, name, message in (_TEXT_AS if isinstance(value, str) else _OBJECT_AS)
    ]
