"""The secrets of webhook endpoints: masked in what Polar answers, and left out of what an error repeats.

Unlike the token of the client, a secret is not known beforehand: Polar makes it and tells it in its answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from polar_sync.client.credentials import replace_texts
from polar_sync.tokens import Token

MASK = "[secret]"
# Of a validation error: what was sent, which may be a whole endpoint.
_ECHOES = ("input", "ctx")
# Polar's own prefix, or a run of characters too long for a word; ids are masked with it.
_OPAQUE = re.compile(r"whsec_[\w+/=-]*|[\w+/=-]{24,}", re.ASCII)


def mask_secrets(value: Any) -> Any:
    """Return a JSON value in which each text under a key that names a secret is a `Token`; changed in place."""
    root = [value]
    queue: list[tuple[Any, bool]] = [(root, False)]
    while queue:
        each, is_secret = queue.pop()
        for key, item in _list_items(each):
            is_within = is_secret or _names_secret(key)
            if isinstance(item, list | dict):
                queue.append((item, is_within))
            elif is_within and isinstance(item, str):
                each[key] = Token(item)
    return root[0]


def redact_secrets(value: Any) -> Any:
    """Return the value of an error's body without secrets; changed in place.

    Removed are texts that stand under a key or beside a location that names a secret, wherever they are repeated, what
    looks like a secret, and what was sent.
    """
    secrets = {secret for secret in _iterate_secrets(value) if secret}
    _drop_echoes(value)
    return replace_texts(value, lambda text: redact_text(text, secrets=secrets))


def redact_text(text: str, *, secrets: set[str] | frozenset[str] = frozenset()) -> str:
    """Return a text without these secrets and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _OPAQUE.sub(_mask_match, text)


def _mask_match(match: re.Match[str]) -> str:
    text = match.group()
    # A long name, such as of an error, has no digit.
    return MASK if text.startswith("whsec_") or any(map(str.isdigit, text)) else text


def _iterate_secrets(value: Any) -> Iterator[str]:
    queue: list[tuple[Any, bool]] = [([value], False)]
    while queue:
        each, is_secret = queue.pop()
        is_located = isinstance(each, dict) and _is_about_secret(each.get("loc"))
        for key, item in _list_items(each):
            is_within = is_secret or _names_secret(key) or (is_located and key == "input")
            if isinstance(item, list | dict):
                queue.append((item, is_within))
            elif is_within and isinstance(item, str):
                yield item


def _drop_echoes(value: Any) -> None:
    queue = [value]
    while queue:
        each = queue.pop()
        if isinstance(each, dict):
            for name in _ECHOES:
                each.pop(name, None)
        queue += [item for _, item in _list_items(each) if isinstance(item, list | dict)]


def _is_about_secret(location: object) -> bool:
    return any(map(_names_secret, location)) if isinstance(location, list) else _names_secret(location)


def _names_secret(key: object) -> bool:
    return isinstance(key, str) and "secret" in key.lower()


def _list_items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
