"""The pytest plugin: a Polar of your own in every test that asks for it.

    def test_new_customer_is_mirrored(polar_server, db):
        customer = polar_server.polar.create_customer(external_id="usr_1337", name="Ada")
        call_command("polar_sync")
        assert Customer.objects.with_external_id("usr_1337").get().name == "Ada"

The plugin is active wherever `polar-sync[testing]` is installed; `polar_server` needs pytest-django. It starts with no
customers: `polar_server.polar.generate_customers(100)` makes some, `polar_server.polar.faults` makes trouble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polar_sync.testing.server import FakePolarServer

# Far more than any test can ask, so that the request budget never holds one up.
REQUESTS_PER_MINUTE = 1_000_000


@pytest.fixture
def polar_server(request: pytest.FixtureRequest) -> Iterator[FakePolarServer]:
    """A fake Polar server on loopback (`.url`, `.polar`), with `settings.POLAR_SYNC` pointing at it."""
    from polar_sync.testing.server import FakePolarServer  # noqa: PLC0415  this module is in every pytest run

    settings, monkeypatch = request.getfixturevalue("settings"), request.getfixturevalue("monkeypatch")
    with FakePolarServer() as server:
        # One time for both sides: a test that lets it pass on the server, by `clock_offset`, lets it pass for all.
        monkeypatch.setattr("polar_sync.client.clock.get_own_time", server.polar.now)
        monkeypatch.setattr("polar_sync.client.clock._clocks", {})
        monkeypatch.setattr("polar_sync.webhooks.signatures.get_time", server.polar.now)
        settings.POLAR_SYNC = {
            "ORGANIZATIONS": {
                "default": {
                    "ACCESS_TOKEN": server.polar.access_token,
                    "SERVER": server.url,
                    "REQUESTS_PER_MINUTE": REQUESTS_PER_MINUTE,
                }
            }
        }
        yield server
