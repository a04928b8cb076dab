"""Which versions of Polar's API a caller may ask for, and what says which one was answered."""

from __future__ import annotations

import pytest
from django.test import Client

from polar_sync.client.parameters import API_VERSION, API_VERSIONS
from polar_sync.models import Organization
from tests.factories import apply_states, build_state, make_id, read_at

pytestmark = pytest.mark.django_db
PATHS = ["customers/", f"customers/{make_id('a')}/state", "customers/external/nobody", "nothing"]


@pytest.mark.parametrize("version", API_VERSIONS)
@pytest.mark.parametrize("path", PATHS)
def test_each_version_is_served_alike_and_named(
    organization: Organization, api: Client, version: str, path: str
) -> None:
    apply_states(organization, build_state("a"), interval=read_at(0))
    answer = api.get(f"/polar/v1/{path}", headers={"Polar-Version": version})
    current = api.get(f"/polar/v1/{path}")
    assert (answer.status_code, answer.content) == (current.status_code, current.content)
    assert (answer["Polar-Version"], current["Polar-Version"]) == (version, API_VERSION)


@pytest.mark.parametrize("path", PATHS)
def test_empty_version_is_the_current_one(organization: Organization, api: Client, path: str) -> None:
    answer = api.get(f"/polar/v1/{path}", headers={"Polar-Version": ""})
    assert answer["Polar-Version"] == API_VERSION
    assert answer.content == api.get(f"/polar/v1/{path}").content


@pytest.mark.parametrize("version", ["2025-01", "2026-4", "2026-10-01", "latest", "2026-04, 2026-10"])
@pytest.mark.parametrize("path", PATHS)
def test_any_other_version_is_a_path_that_there_is_not(
    organization: Organization, api: Client, version: str, path: str
) -> None:
    answer = api.get(f"/polar/v1/{path}", headers={"Polar-Version": version})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert "Polar-Version" not in answer


def test_description_is_of_the_version_that_the_contract_is_of(contract: dict[str, dict[str, str]]) -> None:
    assert Client().get("/polar/openapi.json").json()["info"]["version"] == contract["info"]["version"] == API_VERSION
