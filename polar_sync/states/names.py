"""Names that Polar gave, as any database holds them: what some do not take is escaped."""

from __future__ import annotations

import json


def escape(name: str) -> str:
    """The name in printable ASCII; most are that already, and stay as they are."""
    return json.dumps(name)[1:-1]


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    name: str = json.loads(f'"{text}"')
    return name
