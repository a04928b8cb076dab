"""A run against a fake Polar without sockets, fast enough for hundreds of runs a minute."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from polar_sync.models import Customer, SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.testing import ConnectionCutError, FakePolar
from polar_sync.testing.http import json_response

SERVER = "http://polar.test"
STATE_ARRAYS = ("active_subscriptions", "granted_benefits", "active_meters")


class FakeAdapter(BaseAdapter):
    """Carries requests to a `FakePolar` by a call, in the thread that asks."""

    def __init__(self, polar: FakePolar) -> None:
        super().__init__()
        self._polar = polar

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        parts = urlsplit(request.url or "")
        target = f"{parts.path}?{parts.query}" if parts.query else str(parts.path)
        body = request.body if isinstance(request.body, bytes) else b""
        try:
            answer = self._polar.handle(str(request.method), target, dict(request.headers), body)
        except ConnectionCutError as error:
            raise requests.ConnectionError(str(error), request=request) from None
        status, headers, content = answer
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = HTTPResponse(
            BytesIO(content), headers=HTTPHeaderDict(headers), status=status, preload_content=False
        )
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """There is nothing to close."""


def serve(polar: FakePolar, monkeypatch: pytest.MonkeyPatch, settings: Any, **keys: Any) -> None:
    """Point `POLAR_SYNC` at this server, and all clients at it by calls. Waits between attempts take no time."""
    monkeypatch.setattr("polar_sync.client.sessions.HTTPAdapter", lambda **_: FakeAdapter(polar))
    monkeypatch.setattr("polar_sync.client.retries.FIRST_DELAY", 0.0)
    # Time passes on the server and here alike.
    monkeypatch.setattr("polar_sync.client.clock.get_own_time", polar.now)
    monkeypatch.setattr("polar_sync.client.clock._clocks", {})
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {"default": make_entry(polar)},
        "CONCURRENCY": 1,
        "LEASE_SECONDS": 60,
        **keys,
    }


def make_entry(polar: FakePolar) -> dict[str, Any]:
    """The settings of the organization that this server has."""
    return {"ACCESS_TOKEN": polar.access_token, "SERVER": SERVER, "REQUESTS_PER_MINUTE": 1_000_000}


def normalize(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose arrays, which are sets by id, are in one order."""
    ordered = {name: sorted(state[name], key=lambda child: str(child["id"])) for name in STATE_ARRAYS}
    for subscription in ordered["active_subscriptions"]:
        meters = subscription.get("meters") or []
        ordered["active_subscriptions"] = [
            {**one, "meters": sorted(meters, key=lambda child: str(child["id"]))} if one is subscription else one
            for one in ordered["active_subscriptions"]
        ]
    return {**state, **ordered}


def read_mirror() -> dict[str, dict[str, Any]]:
    """The states of the living customers of the mirror, by id."""
    return {str(customer.pk): normalize(customer.state()) for customer in Customer.objects.with_state()}


def read_polar(polar: FakePolar) -> dict[str, dict[str, Any]]:
    """The same of the server."""
    return {key: normalize(polar.get_state(key)) for key in polar.customers}


def count_asked(polar: FakePolar) -> tuple[int, int]:
    """How many list pages and states of customers were asked for; a run may ask for names of other things besides."""
    return polar.counts["customers:list"], polar.counts["customers:get_state"]


def check_counts(run: SyncRun) -> None:
    """Every customer counts once, and nobody living is missing from the sum."""
    assert run.listed == sum(getattr(run, outcome) for outcome in OUTCOMES)
    assert run.failed == run.failures.count()


def lie_about_pages(polar: FakePolar, lie: Callable[[int], int]) -> None:
    """Have the list of customers tell of another number of pages than it has: `lie` of the true one."""
    answer = polar.operations.answer

    def answer_falsely(operation: str, call: Any) -> Any:
        true = answer(operation, call)
        if operation != "customers:list":
            return true
        body = json.loads(true.body)
        body["pagination"]["max_page"] = lie(body["pagination"]["max_page"])
        return json_response(body)

    polar.operations.answer = answer_falsely  # type: ignore[method-assign]
