"""Text that came from anywhere, shown so that it does no harm: escaped, isolated, its invisible parts made visible."""

from __future__ import annotations

import re
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

LIST_LENGTH = 48
"""Characters that a cell of a list shows of a text; the rest is in its tooltip."""
PAGE_LENGTH = 1000

NOTHING = mark_safe('<span class="polar-none">–</span>')

# Controls, and what turns the direction of the text around it. What emoji and Arabic need is not among them.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def make_visible(text: str) -> str:
    """The text with controls and marks of direction spelled out, U+202E as `⟨202E⟩`."""
    return _HARMFUL.sub(lambda match: f"⟨{ord(match[0]):04X}⟩", text)


def escape_json(text: str) -> str:
    """JSON text with the same characters as JSON's own escapes, so that it stays the same JSON."""
    return _HARMFUL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shorten(text: str, *, length: int = LIST_LENGTH) -> str:
    """At most so many characters, the last of them an ellipsis where something is missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


def clean(value: Any, *, length: int = LIST_LENGTH) -> str:
    """Plain text for where no markup can be: titles, messages, choices."""
    return shorten(make_visible(str(value)), length=length)


def show(value: Any, *, length: int = LIST_LENGTH) -> SafeString:
    """Markup that isolates the text's direction from what stands around it; a dash for nothing."""
    if value is None or value == "":
        return NOTHING
    text = make_visible(str(value))
    if len(text) <= length:
        return format_html("<bdi>{}</bdi>", text)
    return format_html('<bdi title="{}">{}</bdi>', shorten(text, length=PAGE_LENGTH), shorten(text, length=length))


def show_name(entry: Any, entry_id: Any, *, length: int = LIST_LENGTH) -> SafeString:
    """The name of a catalogue entry; where it is not known, its id."""
    if entry is not None and entry.name:
        return show(entry.name, length=length)
    return show_id(entry_id)


def show_id(polar_id: Any) -> SafeString:
    """An id: whole in the page, where the style sheet cuts it and the script adds a button that copies it."""
    return NOTHING if polar_id is None else format_html('<code class="polar-id" title="{0}">{0}</code>', polar_id)
