"""Asking the fake server without a socket, and reading what came back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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


def list_ids(polar: FakePolar, query: str = "") -> list[str]:
    return [item["id"] for item in ask(polar, f"/v1/customers/?{query}").json["items"]]
