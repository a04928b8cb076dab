"""Each mistake in the settings is found by the check that is documented for it."""

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import pymysql
import pytest
from celery import Celery, current_app
from django.core.checks import CheckMessage, run_checks
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from pytest_django import Settings

from polar_sync import checks
from tests.services import PROJECT, build_environment

TOKEN = "polar_oat_for_tests_only_0123456789"
IDS = ("1dbfc517-0bbf-4301-9ba8-555ca42b9737", "8abeac83-20be-4e0d-8758-326691a2e9a6")
ORGANIZATION: dict[str, Any] = {"ACCESS_TOKEN": TOKEN}
SECRET = f"whsec_{TOKEN}"


@pytest.fixture(autouse=True)
def _no_receiver(settings: Settings) -> None:
    """Without the example project's URLs: a receiver that is routed asks for secrets."""
    settings.ROOT_URLCONF = None


def configure(settings: Settings, **keys: object) -> None:
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {"default": ORGANIZATION},
        "THROTTLE_STORAGE": "redis://127.0.0.1:1",
        **keys,
    }


def configure_organization(settings: Settings, **keys: object) -> None:
    configure(settings, ORGANIZATIONS={"default": {**ORGANIZATION, **keys}})


def find_messages() -> list[CheckMessage]:
    return [message for message in run_checks(tags=[checks.TAG]) if message.id != checks.DEFERRED_TRANSACTIONS]


def find_ids() -> list[str | None]:
    messages = find_messages()
    assert not [message for message in messages if TOKEN in f"{message}{message.hint}"]
    return [message.id for message in messages]


def test_good_settings_have_no_mistake(settings: Settings) -> None:
    configure(settings)
    assert find_ids() == []


def test_missing_settings_are_an_error(settings: Settings) -> None:
    del settings.POLAR_SYNC
    assert find_ids() == ["polar_sync.E001"]


def test_settings_that_are_no_dict_are_an_error(settings: Settings) -> None:
    settings.POLAR_SYNC = [TOKEN]
    assert find_ids() == ["polar_sync.E001"]


def test_unknown_key_is_an_error_that_names_the_nearest(settings: Settings) -> None:
    configure(settings, CONCURENCY=3)
    (message,) = find_messages()
    assert message.id == "polar_sync.E002"
    assert 'did you mean "CONCURRENCY"?' in message.msg


def test_unknown_key_of_an_organization_is_an_error_that_names_the_nearest(settings: Settings) -> None:
    configure_organization(settings, ORGANISATION_ID="")
    (message,) = find_messages()
    assert message.id == "polar_sync.E002"
    assert 'did you mean "ORGANIZATION_ID"?' in message.msg


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONCURRENCY", "4"),
        ("CONCURRENCY", 0),
        ("CONCURRENCY", True),
        ("WORKERS", 1.5),
        ("THROTTLE_STORAGE", "127.0.0.1"),
        ("MASS_DELETION_SHARE", 1.2),
        ("MASS_DELETION_SHARE", float("nan")),
        ("LEASE_SECONDS", -1),
        ("RUN_MAX_AGE_HOURS", 0),
        ("CONNECT_TIMEOUT", None),
        ("READ_TIMEOUT", float("inf")),
        ("DELETED_CUSTOMERS", "remove"),
        ("DELETED_CUSTOMERS_AFTER_DAYS", -1),
        ("KEEP_RUNS_DAYS", 10**5000),
        ("WEBHOOK_TOLERANCE_SECONDS", 0),
        ("WEBHOOK_TOLERANCE_SECONDS", "300"),
        ("WEBHOOK_MAX_BODY_BYTES", 1023),
        ("WEBHOOK_MAX_BODY_BYTES", 1e6),
        ("SETTLE_SECONDS", -1),
        ("KEEP_DELIVERIES_DAYS", -1),
        ("ENABLE_WEBHOOK_ENDPOINT", 1),
        ("ORGANIZATIONS", [TOKEN]),
        ("ORGANIZATIONS", {"default": TOKEN}),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_wrong_value_is_an_error(settings: Settings, key: str, value: object) -> None:
    configure(settings, **{key: value})
    assert find_ids() == ["polar_sync.E003"]


@pytest.mark.parametrize("name", ["", " shop", "a\nb", 7, "n" * 201])
def test_name_that_cannot_be_stored_is_an_error(settings: Settings, name: object) -> None:
    configure(settings, ORGANIZATIONS={name: ORGANIZATION})
    assert find_ids() == ["polar_sync.E004"]


@pytest.mark.parametrize("token", ["", None])
def test_empty_token_is_an_error(settings: Settings, token: object) -> None:
    configure_organization(settings, ACCESS_TOKEN=token)
    assert find_ids() == ["polar_sync.E005"]


def test_organization_without_a_token_is_an_error(settings: Settings) -> None:
    configure(settings, ORGANIZATIONS={"default": {}})
    assert find_ids() == ["polar_sync.E005"]


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN}\u200b", "   "])
def test_token_with_whitespace_or_strange_characters_is_an_error(settings: Settings, token: str) -> None:
    configure_organization(settings, ACCESS_TOKEN=token)
    assert find_ids() == ["polar_sync.E006"]


@pytest.mark.parametrize(
    "server",
    ["prodution", "", None, TOKEN, "ftp://polar.test", "https://", f"https://{TOKEN}@polar.test", "http://a:b:c"],
)
def test_bad_server_is_an_error(settings: Settings, server: object) -> None:
    configure_organization(settings, SERVER=server)
    assert find_ids() == ["polar_sync.E007"]


@pytest.mark.parametrize("organization_id", ["acme", TOKEN, 7])
def test_bad_organization_id_is_an_error(settings: Settings, organization_id: object) -> None:
    configure_organization(settings, ORGANIZATION_ID=organization_id)
    assert find_ids() == ["polar_sync.E008"]


@pytest.mark.parametrize("endpoint_id", ["acme", SECRET, 7])
def test_bad_webhook_endpoint_id_is_an_error(settings: Settings, endpoint_id: object) -> None:
    configure_organization(settings, WEBHOOK_ENDPOINT_ID=endpoint_id)
    assert find_ids() == ["polar_sync.E003"]


@pytest.mark.parametrize("secrets", ["", [""], [SECRET, None]])
def test_empty_webhook_secret_is_an_error(settings: Settings, secrets: object) -> None:
    configure_organization(settings, WEBHOOK_SECRETS=secrets)
    assert find_ids() == ["polar_sync.E014"]


@pytest.mark.parametrize(
    "secrets", [f"{SECRET}\n", f"{SECRET}, {SECRET}", [f" {SECRET}"], [SECRET, f"{SECRET}é"], {SECRET: SECRET}, [7], 7]
)
def test_webhook_secret_that_cannot_be_one_is_an_error(settings: Settings, secrets: object) -> None:
    configure_organization(settings, WEBHOOK_SECRETS=secrets)
    assert find_ids() == ["polar_sync.E015"]


@pytest.mark.parametrize("secrets", [None, [], SECRET, [SECRET, f"{SECRET}2"]])
def test_no_one_and_several_webhook_secrets_are_fine(settings: Settings, secrets: object) -> None:
    configure_organization(settings, WEBHOOK_SECRETS=secrets)
    assert find_ids() == []


@pytest.mark.parametrize("requests", [0, -5, 1.5, 0.0, "300", True, float("nan")])
def test_bad_number_of_requests_is_an_error(settings: Settings, requests: object) -> None:
    configure_organization(settings, REQUESTS_PER_MINUTE=requests)
    assert find_ids() == ["polar_sync.E009"]


def test_two_names_with_one_token_and_server_are_an_error(settings: Settings) -> None:
    twice = {"shop": ORGANIZATION, "store": {**ORGANIZATION, "SERVER": "production"}}
    configure(settings, ORGANIZATIONS=twice)
    assert find_ids() == ["polar_sync.E010"]


@pytest.mark.parametrize("ids", [(IDS[0], None), (None, IDS[0]), (IDS[0], IDS[0].upper())])
def test_two_names_for_what_can_be_one_organization_are_an_error(
    settings: Settings, ids: tuple[str | None, str | None]
) -> None:
    names = dict(zip(("shop", "store"), ids, strict=True))
    configure(settings, ORGANIZATIONS={name: {**ORGANIZATION, "ORGANIZATION_ID": id_} for name, id_ in names.items()})
    assert find_ids() == ["polar_sync.E010"]


def test_two_organizations_that_one_token_sees_are_fine(settings: Settings) -> None:
    names = dict(zip(("shop", "store"), IDS, strict=True))
    configure(settings, ORGANIZATIONS={name: {**ORGANIZATION, "ORGANIZATION_ID": id_} for name, id_ in names.items()})
    assert find_ids() == []


def test_one_token_on_two_servers_is_fine(settings: Settings) -> None:
    configure(settings, ORGANIZATIONS={"shop": ORGANIZATION, "test": {**ORGANIZATION, "SERVER": "sandbox"}})
    assert find_ids() == []


@pytest.mark.parametrize("uri", ["sqlite://x", "redis://[half", "memcached://127.0.0.1:1"])
def test_storage_that_cannot_be_opened_is_an_error(settings: Settings, uri: str) -> None:
    configure(settings, THROTTLE_STORAGE=uri)
    assert find_ids() == ["polar_sync.E011"]


def test_password_of_a_bad_storage_is_not_shown(settings: Settings) -> None:
    configure(settings, THROTTLE_STORAGE=f"redis://user:{TOKEN}@127.0.0.1:port")
    assert find_ids() == ["polar_sync.E011"]


def test_all_mistakes_are_found_at_once(settings: Settings) -> None:
    broken = {"ACCESS_TOKEN": "", "SERVER": "nowhere", "ORGANIZATION_ID": "x", "REQUESTS_PER_MINUTE": 0}
    configure(settings, ORGANIZATIONS={"a": broken, "b": ORGANIZATION, "c": ORGANIZATION}, WORKERS=0, WORKER=1)
    expected = {f"polar_sync.E{number:03}" for number in (2, 3, 5, 7, 8, 9, 10)}
    assert set(find_ids()) == expected


def test_no_organization_is_a_warning(settings: Settings) -> None:
    configure(settings, ORGANIZATIONS={})
    assert find_ids() == ["polar_sync.W001"]


@pytest.fixture
def celery_app() -> Any:
    # The app of the project is current again when this one is gone.
    previous = current_app._get_current_object()  # type: ignore[attr-defined]
    app = Celery("checks", set_as_current=True)
    yield app
    previous.set_current()
    app.close()


def test_memory_storage_with_a_broker_is_a_warning(settings: Settings, celery_app: Celery) -> None:
    celery_app.conf.update({"broker_url": "redis://127.0.0.1:1/0"})
    configure(settings, THROTTLE_STORAGE="memory://")
    assert find_ids() == ["polar_sync.W002"]


@pytest.mark.parametrize(
    "conf", [{}, {"broker_url": "memory://"}, {"broker_url": "redis://127.0.0.1:1/0", "task_always_eager": True}]
)
def test_memory_storage_in_one_process_is_fine(settings: Settings, celery_app: Celery, conf: dict[str, object]) -> None:
    celery_app.conf.update(conf)
    configure(settings, THROTTLE_STORAGE="memory://")
    assert find_ids() == []


@pytest.mark.parametrize("server", ["http://polar.test", "http://10.0.0.1:8080", "http://localhost.evil.test"])
def test_token_over_a_network_in_clear_text_is_a_warning(settings: Settings, server: str) -> None:
    configure_organization(settings, SERVER=server)
    assert find_ids() == ["polar_sync.W004"]


@pytest.mark.parametrize(
    "server", ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:1", "https://a.test"]
)
def test_token_in_clear_text_on_this_machine_is_fine(settings: Settings, server: str) -> None:
    configure_organization(settings, SERVER=server)
    assert find_ids() == []


def take_nothing(request: HttpRequest, organization: str) -> HttpResponse:
    return HttpResponse()


def route(settings: Settings, monkeypatch: pytest.MonkeyPatch, *patterns: Any) -> None:
    """Make these the URLs of the site."""
    urls = ModuleType("tests.urls_of_a_check")
    urls.urlpatterns = [*patterns]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    settings.ROOT_URLCONF = urls.__name__


RECEIVER = include(([path("<organization>/", take_nothing, name="receive")], "polar_webhooks"))
ROUTES = {
    "directly": path("polar/webhooks/", RECEIVER),
    "below": path("api/", include([path("v1/", include([path("polar/", RECEIVER)]))])),
    "in another namespace": path("shop/", include(([path("polar/", RECEIVER)], "shop"), namespace="a")),
}


@pytest.mark.parametrize("where", ROUTES)
def test_receiver_without_a_secret_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    route(settings, monkeypatch, path("", take_nothing), ROUTES[where])
    other = {"ACCESS_TOKEN": f"{TOKEN}2", "WEBHOOK_SECRETS": SECRET}
    configure(settings, ORGANIZATIONS={"default": ORGANIZATION, "other": other})
    (message,) = find_messages()
    assert message.id == "polar_sync.W006"
    assert 'the organization "default" has no WEBHOOK_SECRETS' in message.msg
    assert "polar_sync_webhook" in str(message.hint)


def test_receiver_with_a_secret_for_each_organization_is_fine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    route(settings, monkeypatch, ROUTES["directly"])
    configure_organization(settings, WEBHOOK_SECRETS=[SECRET])
    assert find_ids() == []


def test_site_without_the_receiver_needs_no_secret(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    route(settings, monkeypatch, path("polar/", include(([path("", take_nothing)], "polar"))))
    configure(settings)
    assert find_ids() == []


def test_site_without_urls_needs_no_secret(settings: Settings) -> None:
    del settings.ROOT_URLCONF
    configure(settings)
    assert find_ids() == []


class MirrorRouter:
    """Sends the mirror to a database of its own."""

    def db_for_write(self, model: type[object], **hints: object) -> str:
        return "mirror"

    db_for_read = db_for_write


@pytest.fixture
def mirror(settings: Settings) -> Any:
    configure(settings)
    settings.DATABASE_ROUTERS = [MirrorRouter()]
    database = {**connections["default"].settings_dict, "ENGINE": "django.db.backends.sqlite3", "OPTIONS": {}}
    connections.settings["mirror"] = database
    yield database
    del connections["mirror"], connections.settings["mirror"]


def find_database_ids() -> list[str | None]:
    return [message.id for message in checks.check_database(None)]


@pytest.mark.parametrize("options", [{}, {"transaction_mode": None}, {"transaction_mode": "deferred"}])
def test_sqlite_with_deferred_transactions_is_a_warning(mirror: dict[str, Any], options: dict[str, Any]) -> None:
    mirror["OPTIONS"] = options
    assert find_database_ids() == ["polar_sync.W003"]


@pytest.mark.parametrize("mode", ["IMMEDIATE", "exclusive"])
def test_sqlite_that_locks_first_is_fine(mirror: dict[str, Any], mode: str) -> None:
    mirror["OPTIONS"] = {"transaction_mode": mode}
    assert find_database_ids() == []


def test_postgresql_is_fine(mirror: dict[str, Any]) -> None:
    mirror["ENGINE"] = "django.db.backends.postgresql"
    assert find_database_ids() == []


def find_deployment_ids() -> list[str | None]:
    found = run_checks(tags=[checks.TAG], include_deployment_checks=True)
    assert checks.UNKEPT_CONNECTIONS not in find_ids()
    return [message.id for message in found if message.id != checks.DEFERRED_TRANSACTIONS]


@pytest.mark.parametrize("options", [{}, {"pool": False}])
def test_postgresql_without_kept_connections_is_a_warning_in_production(
    mirror: dict[str, Any], options: dict[str, Any]
) -> None:
    mirror |= {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 0, "OPTIONS": options}
    assert find_deployment_ids() == ["polar_sync.W005"]


@pytest.mark.parametrize(
    "kept",
    [
        {"CONN_MAX_AGE": 60},
        {"CONN_MAX_AGE": None},
        {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}},
        {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 1}}},
    ],
)
def test_postgresql_with_kept_connections_is_fine(mirror: dict[str, Any], kept: dict[str, Any]) -> None:
    mirror |= {"ENGINE": "django.db.backends.postgresql", **kept}
    assert find_deployment_ids() == []


def test_sqlite_need_not_keep_its_connections(mirror: dict[str, Any]) -> None:
    mirror["CONN_MAX_AGE"] = 0
    assert find_deployment_ids() == []


@pytest.mark.parametrize("command", [("check",), ("migrate",)])
def test_mariadb_is_refused_before_anything_is_made_in_it(mariadb: Any, command: tuple[str, ...]) -> None:
    database, environment = mariadb
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "(polar_sync.E012)" in done.stderr
    assert "have no unique constraint with a condition" in done.stderr
    database.execute("SHOW TABLES")
    assert database.fetchall() == ()


@pytest.fixture
def mariadb() -> Iterator[Any]:
    """A new database on the MariaDB of this machine, and the environment of a project that uses it."""
    name = f"test_polar_sync_{uuid4().hex[:8]}"
    try:
        connection = pymysql.connect(host="127.0.0.1", user="root", connect_timeout=3)
    except pymysql.OperationalError as error:
        # Never required: all that is to be seen there is that it is refused.
        pytest.skip(f"MariaDB does not answer: {error}")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            cursor.execute(f"USE {name}")
            environment = build_environment(
                DATABASE_URL=f"mysql://root@127.0.0.1:3306/{name}", DJANGO_SETTINGS_MODULE="tests.mariadb_settings"
            )
            yield cursor, environment
        finally:
            cursor.execute(f"DROP DATABASE {name}")


def test_times_without_a_time_zone_are_an_error(settings: Settings) -> None:
    configure(settings)
    settings.USE_TZ = False
    (message,) = find_messages()
    assert message.id == "polar_sync.E013"
    assert "USE_TZ = True" in str(message.hint)
