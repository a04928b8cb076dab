"""A fake Polar server for tests: it answers as Polar's customer API does, on loopback or without a socket.

    from polar_sync.testing import FakePolar, FakePolarServer

    polar = FakePolar.generate(seed=1, customers=100)
    with FakePolarServer(polar) as server:
        client = PolarClient(access_token=polar.access_token, server=server.url)
        endpoint = polar.webhooks.add_endpoint("http://127.0.0.1:8000/polar/webhooks/")
        polar.subscribe(polar.customers[0])
        polar.webhooks.wait_until_sent()

The behaviour follows https://polar.sh/docs/api-reference/customers/list and its sisters. Under pytest the fixture
`polar_server` (`polar_sync.testing.plugin`) does the wiring; `python -m polar_sync.testing` serves one by hand.

Names are imported when first used, as pytest loads this package into every run where it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polar_sync.testing.app import FakePolar
    from polar_sync.testing.faults import Fault
    from polar_sync.testing.http import ConnectionCutError
    from polar_sync.testing.server import FakePolarServer

__all__ = ["ConnectionCutError", "FakePolar", "FakePolarServer", "Fault"]

_HOMES = {"ConnectionCutError": "http", "FakePolar": "app", "FakePolarServer": "server", "Fault": "faults"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
