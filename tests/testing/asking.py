"""Asking the fake server without a socket, and reading what came back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from polar_sync.testing import FakePolar

# These are the transport's own, and no part of a recording.
TRANSPORT_HEADERS = frozenset({"date", "content-length", "transfer-encoding"})


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def polar_headers(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name not in TRANSPORT_HEADERS}


def ask(
    polar: FakePolar,
    path: str,
    *,
    method: str = "GET",
    token: str | None = "its own",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Ask with the organization's own token unless told otherwise; `body` is bytes as they are, or JSON."""
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {polar.access_token if token == 'its own' else token}"
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    status, answered, got = polar.handle(method, path, sent, content)
    names = {name.lower(): value for name, value in answered}
    assert len(names) == len(answered), "a header came twice"
    return Reply(status, names, got)


def get_frozen_now() -> datetime:
    """A clock that stands still, so that what is signed anew every second stays the same."""
    return datetime(2026, 6, 1, 12, tzinfo=UTC)


def list_ids(polar: FakePolar, query: str = "") -> list[str]:
    return [item["id"] for item in ask(polar, f"/v1/customers/?{query}").json["items"]]


def list_items(polar: FakePolar, path: str, customer_ids: Iterable[str] = (), query: str = "limit=100") -> list[Any]:
    """The items of one page, for these customers; none given means all."""
    asked = "".join(f"&customer_id={one}" for one in customer_ids)
    reply = ask(polar, f"{path}?{query}{asked}")
    assert reply.status == 200, reply.body
    items: list[Any] = reply.json["items"]
    return items
