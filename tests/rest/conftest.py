from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client
from knox.models import AuthToken
from pytest_django import DjangoDbBlocker

from polar_sync.models import Organization
from polar_sync.store import apply, observe_customer, observe_state
from polar_sync.testing import FakePolar
from tests.factories import create_organization, read_at

Exchange = dict[str, Any]
RECORDED_ORGANIZATION = "c358c206-cc44-40eb-8079-81a5c4f825ad"


@pytest.fixture
def organization(db: None) -> Organization:
    return create_organization()


@pytest.fixture
def make_token(django_user_model: Any) -> Callable[..., str]:
    """A bearer token of a new user, with Django's permissions by code name."""

    def make(*permissions: str, is_staff: bool = True, is_superuser: bool = False) -> str:
        from django.contrib.auth.models import Permission  # noqa: PLC0415 - models are ready only now

        name = f"user {django_user_model.objects.count()}"
        user = django_user_model.objects.create_user(name, is_staff=is_staff, is_superuser=is_superuser)
        found = Permission.objects.filter(content_type__app_label="polar_sync", codename__in=permissions)
        assert len(found) == len(permissions)
        user.user_permissions.set(found)
        return str(AuthToken.objects.create(user)[1])

    return make


@pytest.fixture
def api(db: None, make_token: Callable[..., str]) -> Client:
    """A program that may read, by its bearer token."""
    return sign_in(make_token("view_customer"))


@pytest.fixture
def steering_api(db: None, make_token: Callable[..., str]) -> Client:
    """A program that may do everything."""
    return sign_in(make_token(is_superuser=True))


def sign_in(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=True)


@pytest.fixture(scope="session")
def exchanges(recordings: Path) -> dict[str, Exchange]:
    return {exchange["name"]: exchange for exchange in json.loads((recordings / "exchanges.json").read_text())}


@pytest.fixture(scope="session")
def contract(shared_folder: Path) -> dict[str, Any]:
    """Polar's own description of its API."""
    described: dict[str, Any] = json.loads((shared_folder / "polar-openapi.json").read_text("utf-8"))
    return described


@pytest.fixture(scope="session")
def recorded(recordings: Path) -> FakePolar:
    """The recorded organization, served again."""
    return FakePolar.replay(recordings / "organization.jsonl.gz")


@pytest.fixture(scope="module")
def mirrored(recorded: FakePolar, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[FakePolar]:
    """The recorded organization with all of its customers in the mirror, once for the tests of a module."""
    with django_db_blocker.unblock():
        outer = transaction.atomic()
        with outer:
            mirror(recorded)
            yield recorded
            transaction.set_rollback(True)


def mirror(polar: FakePolar) -> Organization:
    organization = create_organization(polar_id=UUID(polar.organization_id))
    ids = list(polar.customers)
    for start in range(0, len(ids), 100):
        batch = ids[start : start + 100]
        found = [observe_customer(polar.get_customer(one), interval=read_at(0)) for one in batch]
        apply(
            found + [observe_state(polar.get_state(one), interval=read_at(0)) for one in batch],
            organization=organization,
        )
    return organization
