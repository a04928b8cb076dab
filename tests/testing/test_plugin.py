from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
import requests

from polar_sync.testing import FakePolarServer
from polar_sync.testing.sender import Response
from polar_sync.tokens import Token
from polar_sync.webhooks.signatures import verify


def test_fixture_serves_an_empty_organization_that_the_settings_point_to(
    polar_server: FakePolarServer, settings: Any
) -> None:
    organization = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
    customer = polar_server.polar.create_customer(name="Ada")
    response = requests.get(
        f"{organization['SERVER']}/v1/customers/",
        headers={"Authorization": f"Bearer {organization['ACCESS_TOKEN']}"},
        timeout=10,
    )
    assert response.json()["items"] == [customer]
    assert organization["REQUESTS_PER_MINUTE"] == 1_000_000


@pytest.mark.parametrize("run", [1, 2])
def test_fixture_is_new_in_every_test(polar_server: FakePolarServer, run: int) -> None:
    assert polar_server.polar.customers == []
    polar_server.polar.create_customer()


def test_deliveries_are_signed_lately_however_far_the_clock_was_turned(
    polar_server: FakePolarServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks = polar_server.polar.webhooks
    sent: list[tuple[bytes, Any]] = []

    def post(url: str, headers: Any, body: bytes, timeout: float) -> Response:
        sent.append((body, headers))
        return Response(200, "")

    monkeypatch.setattr(webhooks, "post", post)
    endpoint = webhooks.add_endpoint("http://shop.test/")
    polar_server.polar.clock_offset += timedelta(hours=3)
    polar_server.polar.create_customer()
    webhooks.wait_until_sent()
    assert sent
    for body, headers in sent:
        verify(body, headers, secrets=[Token(endpoint.secret)], tolerance=timedelta(seconds=60))


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    heavy = ("django", "werkzeug", "requests", "rest_framework", "celery", "http.server", "jsonschema")
    program = (
        "import pytest, sys; before = set(sys.modules); import polar_sync.testing.plugin; "
        f"print(sorted(name for name in set(sys.modules) - before if name.startswith({heavy!r})"
        " or name.startswith('polar_sync.testing.') and not name.endswith('plugin')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import polar_sync.testing  # noqa: PLC0415

    with pytest.raises(AttributeError, match="FakePoler"):
        _ = polar_sync.testing.FakePoler
