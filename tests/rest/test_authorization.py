"""A token, its user and their permissions take one statement, and come to the same as asking Django's backends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from knox.models import AuthToken
from pytest_django import Settings

from polar_sync.models import Organization, SyncRun
from tests.factories import apply_states, build_full_state, make_id, read_at
from tests.rest.conftest import sign_in
from tests.services import PROJECT, build_environment

pytestmark = pytest.mark.django_db
ONE = f"/polar/v1/customers/{make_id('a')}"
RUN = "/polar/v1/sync/runs/1"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
PERMISSIONS = ["view_customer", "view_syncrun", "sync_organization", "write_customer_to_polar", "view_meter"]
REQUESTS = [("get", ONE), ("get", f"{ONE}/state"), ("get", RUN), ("post", f"{RUN}/cancel"), ("put", ONE)]
numbers = count()


@pytest.fixture
def full(organization: Organization) -> Organization:
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    SyncRun.objects.create(pk=1, organization=organization, status="failed")
    return organization


@pytest.fixture
def use_backends(settings: Settings) -> Callable[..., None]:
    def use(*names: str) -> None:
        settings.AUTHENTICATION_BACKENDS = [
            name if "." in name else f"tests.rest.backends.{name}Backend" for name in names
        ]

    return use


def find_permissions(names: Any) -> Any:
    return Permission.objects.filter(content_type__app_label="polar_sync", codename__in=names)


def make_user(*, groups: Any = (), own: Any = (), **fields: Any) -> Any:
    user = User.objects.create(username=f"member {next(numbers)}", **fields)
    user.user_permissions.set(find_permissions(own))
    for names in groups:
        group = Group.objects.create(name=f"group {next(numbers)}")
        group.permissions.set(find_permissions(names))
        user.groups.add(group)
    return user


def count_statements(api: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert api.get(path).status_code == 200
    return len(queries)


some_permissions = st.sets(st.sampled_from(PERMISSIONS))


@given(
    fields=st.fixed_dictionaries(
        {"is_active": st.sampled_from([True, True, False]), "is_staff": st.sampled_from([True, True, False])}
        | {"is_superuser": st.sampled_from([False, False, True])}
    ),
    own=some_permissions,
    groups=st.lists(some_permissions, max_size=2),
    expiry=st.sampled_from([None, timedelta(hours=1), timedelta(seconds=-1)]),
)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_it_comes_to_the_same_as_asking_the_backends(
    full: Organization, use_backends: Callable[..., None], fields: Any, own: Any, groups: Any, expiry: Any
) -> None:
    user = make_user(own=own, groups=groups, **fields)
    make_user(own=PERMISSIONS, groups=[PERMISSIONS])  # of whom nothing may rub off
    api = sign_in(AuthToken.objects.create(user, expiry=expiry)[1])
    found = []
    for backend in (MODEL_BACKEND, "Asked"):
        use_backends(backend)
        found.append([getattr(api, method)(path).status_code for method, path in REQUESTS])
    assert found[0] == found[1]
    user.refresh_from_db()
    may = user.is_staff and user.has_perm("polar_sync.view_customer")
    is_known = user.is_active and (expiry is None or expiry > timedelta())
    assert found[0][0] == (401 if not is_known else 200 if may else 403)


@pytest.mark.parametrize(("path", "statements"), [(ONE, 2), (f"{ONE}/state", 3), ("/polar/v1/customers/", 2)])
def test_token_user_and_permissions_are_one_statement(
    full: Organization, api: Client, use_backends: Callable[..., None], path: str, statements: int
) -> None:
    assert count_statements(api, path) == statements
    use_backends("Asked")
    assert count_statements(api, path) == statements + 2


def test_permission_of_a_group_is_enough_and_costs_no_statement(full: Organization) -> None:
    api = sign_in(AuthToken.objects.create(make_user(is_staff=True, groups=[["view_customer"]]))[1])
    assert count_statements(api, ONE) == 2


def test_permission_of_the_same_name_in_another_app_is_another(full: Organization) -> None:
    user = make_user(is_staff=True)
    content_type = ContentType.objects.get_for_model(User)
    user.user_permissions.add(Permission.objects.create(content_type=content_type, codename="view_customer"))
    assert sign_in(AuthToken.objects.create(user)[1]).get(ONE).status_code == 403


def test_page_asks_for_the_permissions_of_what_it_offers_besides(
    full: Organization, api: Client, settings: Settings
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "WRITE_THROUGH": True}
    page = api.get("/polar/v1/customers/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert b'name="_content"' not in page.content


def test_nothing_is_remembered_for_the_next_request(full: Organization) -> None:
    user = make_user(is_staff=True, own=["view_customer"], groups=[["view_syncrun"]])
    api = sign_in(AuthToken.objects.create(user)[1])
    assert [api.get(path).status_code for path in (ONE, RUN)] == [200, 200]
    user.user_permissions.clear()
    assert [api.get(path).status_code for path in (ONE, RUN)] == [403, 200]
    Group.objects.get().permissions.clear()
    assert [api.get(path).status_code for path in (ONE, RUN)] == [403, 403]
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    assert [api.get(path).status_code for path in (ONE, RUN)] == [200, 200]
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert [api.get(path).status_code for path in (ONE, RUN)] == [401, 401]


def test_backend_of_the_project_may_let_somebody_in(full: Organization, use_backends: Callable[..., None]) -> None:
    api = sign_in(AuthToken.objects.create(User.objects.create(username="reader", is_staff=True))[1])
    assert api.get(ONE).status_code == 403
    use_backends(MODEL_BACKEND, "Name")
    assert [api.get(path).status_code for path in (ONE, RUN)] == [200, 403]


def test_backend_of_the_project_may_shut_somebody_out(
    full: Organization, api: Client, use_backends: Callable[..., None]
) -> None:
    assert api.get(ONE).status_code == 200
    use_backends("Refusing", MODEL_BACKEND)
    assert api.get(ONE).status_code == 403


def test_rule_that_a_project_puts_on_the_user_model_holds(
    full: Organization, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "has_perm", lambda user, permission, obj=None: False)
    assert api.get(ONE).status_code == 403


def test_user_whom_the_project_puts_in_the_place_of_the_tokens_is_the_one_who_is_asked(
    full: Organization, api: Client, settings: Settings
) -> None:
    settings.POLAR_SYNC = {
        **settings.POLAR_SYNC,
        "REST_AUTHENTICATION_CLASSES": ["tests.rest.backends.ActingAuthentication"],
    }
    nobody, somebody = make_user(is_staff=True), make_user(is_staff=True, own=["view_customer"])
    assert api.get(ONE, headers={"X-Acts-As": nobody.username}).status_code == 403
    assert api.get(ONE, headers={"X-Acts-As": somebody.username}).status_code == 200


def test_database_router_decides_where_each_is_read(full: Organization, api: Client, settings: Settings) -> None:
    class Router:
        def db_for_read(self, model: type[Any], **hints: Any) -> str | None:
            return "elsewhere" if model is Permission else None

    settings.DATABASE_ROUTERS = [Router()]
    with pytest.raises(Exception, match="elsewhere"):  # whose permissions are there has to be asked there
        api.get(ONE)


# A user model of the project's own, in which nobody may read but who is called so, whatever the tables say.
MEMBERS = """
from django.contrib.auth.models import AbstractUser

class Member(AbstractUser):
    def has_perm(self, perm, obj=None):
        return self.username == "reader"
"""
TRY = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from django.test import Client
from knox.models import AuthToken
from members.models import Member
statuses = []
for name in ("reader", "other"):
    user = Member.objects.create(username=name, is_staff=True, is_superuser=name == "other")
    headers = {"Authorization": "Bearer " + AuthToken.objects.create(user)[1]}
    statuses.append(Client(headers=headers).get("/polar/v1/customers/").status_code)
print(statuses)
"""
SETTINGS = """
from project.settings import *
INSTALLED_APPS = ["members", *INSTALLED_APPS]
AUTH_USER_MODEL = "members.Member"
ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

class MIGRATION_MODULES(dict):
    def __contains__(self, name): return True
    def __getitem__(self, name): return None

MIGRATION_MODULES = MIGRATION_MODULES()
"""


@pytest.mark.any_database
def test_user_model_of_the_project_is_asked_itself(tmp_path: Path) -> None:
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "__init__.py").touch()
    (tmp_path / "members" / "models.py").write_text(MEMBERS)
    (tmp_path / "member_settings.py").write_text(SETTINGS)
    environment = build_environment(
        DJANGO_SETTINGS_MODULE="member_settings", PYTHONPATH=f"{tmp_path}:{PROJECT}", POLAR_SYNC_WORK_DIR=tmp_path
    )
    done = subprocess.run(
        [sys.executable, "-c", TRY], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "[200, 403]\n", done.stderr
