"""People with and without permissions, and a mirror to look at."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from polar_sync.models import Benefit, MeterDefinition, Organization, Product
from project.celery import app
from tests import factories


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def make_client(db: None) -> Callable[..., Client]:
    """A client of a person who may view everything of this app, and further what is named."""

    def make(*codenames: str, is_viewer: bool = True) -> Client:
        user = User.objects.create_user(f"person {User.objects.count()}", is_staff=True)
        chosen = Permission.objects.filter(content_type__app_label="polar_sync")
        views = chosen.filter(codename__startswith="view_") if is_viewer else chosen.none()
        user.user_permissions.set([*views, *chosen.filter(codename__in=codenames)])
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def viewer(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture
def operator(make_client: Callable[..., Client]) -> Client:
    return make_client("sync_organization", "export_customers")


@pytest.fixture
def organization(db: None) -> Organization:
    return factories.create_organization()


@pytest.fixture
def names(organization: Organization) -> None:
    """Names for what the factories refer to."""
    for model, name, title in (
        (Product, "product", "Pro, monthly"),
        (Benefit, "benefit", "Handbook"),
        (MeterDefinition, "meter", "API requests"),
    ):
        model.objects.create(pk=factories.make_uuid(name), organization=organization, name=title)


@pytest.fixture
def eager_celery() -> Iterator[None]:
    """Tasks run where they are sent from: in the request that hands them over."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False
