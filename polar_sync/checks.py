"""System checks of the settings, each mistake with an id of its own.

No message holds a token, nor any other value that could hold a secret.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import connections, router
from django.urls import URLPattern, URLResolver, get_resolver

from polar_sync.client.rate_limit import open_storage
from polar_sync.conf import Mistake, OrganizationSettings, SettingError, settings
from polar_sync.exceptions import ConfigurationError
from polar_sync.tasks import has_workers

TAG = "polar_sync"
SUPPORTED_DATABASES = {"postgresql", "sqlite"}

IDS = {
    Mistake.MISSING: "polar_sync.E001",
    Mistake.UNKNOWN_KEY: "polar_sync.E002",
    Mistake.WRONG_VALUE: "polar_sync.E003",
    Mistake.BAD_NAME: "polar_sync.E004",
    Mistake.EMPTY_TOKEN: "polar_sync.E005",
    Mistake.UNREADABLE_TOKEN: "polar_sync.E006",
    Mistake.BAD_SERVER: "polar_sync.E007",
    Mistake.BAD_ORGANIZATION_ID: "polar_sync.E008",
    Mistake.BAD_REQUESTS_PER_MINUTE: "polar_sync.E009",
    Mistake.SAME_TOKEN: "polar_sync.E010",
    Mistake.EMPTY_WEBHOOK_SECRET: "polar_sync.E014",
    Mistake.UNREADABLE_WEBHOOK_SECRET: "polar_sync.E015",
}
UNUSABLE_STORAGE = "polar_sync.E011"
UNSUPPORTED_DATABASE = "polar_sync.E012"
NAIVE_TIMES = "polar_sync.E013"
NO_ORGANIZATION = "polar_sync.W001"
UNSHARED_STORAGE = "polar_sync.W002"
DEFERRED_TRANSACTIONS = "polar_sync.W003"
READABLE_TOKEN = "polar_sync.W004"  # noqa: S105
UNKEPT_CONNECTIONS = "polar_sync.W005"
NO_WEBHOOK_SECRET = "polar_sync.W006"  # noqa: S105

RECEIVER_APP = "polar_webhooks"
"""The `app_name` of `polar_sync.webhooks.urls`."""

Apps = Sequence[AppConfig] | None


@register(TAG)
def check_settings(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """E001 to E010, E014 and E015: whatever in `POLAR_SYNC` cannot be read."""
    return [Error(str(error), id=IDS[error.mistake]) for error in settings.find_errors()]


@register(TAG)
def check_organizations(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """W001 without any organization; W004 for each whose token would go over a network in clear text."""
    try:
        organizations = settings.organizations
    except SettingError:
        return []
    if not organizations:
        hint = 'Set POLAR_SYNC["ORGANIZATIONS"] = {"default": {"ACCESS_TOKEN": …}}.'
        return [Warning("No organization is configured; nothing will be mirrored.", hint=hint, id=NO_ORGANIZATION)]
    return list(find_readable_tokens(organizations))


def find_readable_tokens(organizations: Mapping[str, OrganizationSettings]) -> Iterator[CheckMessage]:
    """A warning for each organization on a server that is asked without encryption and is not this machine."""
    for organization in organizations.values():
        server = urlsplit(organization.server)
        if server.scheme == "http" and not is_loopback(server.hostname or ""):
            yield Warning(
                f'The server of the organization "{organization.name}" is asked over http://: everybody on the way '
                "can read its access token.",
                hint="Use https://.",
                id=READABLE_TOKEN,
            )


def is_loopback(host: str) -> bool:
    """Whether this host is the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@register(TAG)
def check_webhook_secrets(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """W006 for each organization without a secret, where the receiver of webhooks is routed: it takes no delivery."""
    try:
        organizations = settings.organizations
    except SettingError:
        return []
    without = [organization for organization in organizations.values() if not organization.webhook_secrets]
    if not without or not has_receiver():
        return []
    return [
        Warning(
            f'The receiver of webhooks is routed, and the organization "{organization.name}" has no WEBHOOK_SECRETS: '
            "whatever Polar sends for it is refused.",
            hint="`manage.py polar_sync_webhook` creates the endpoint on Polar and prints its secret.",
            id=NO_WEBHOOK_SECRET,
        )
        for organization in without
    ]


def has_receiver() -> bool:
    """Whether the site's URLs lead to the receiver of webhooks, in whatever namespace."""
    return bool(getattr(django_settings, "ROOT_URLCONF", None)) and _includes_receiver(get_resolver().url_patterns)


def _includes_receiver(patterns: Iterable[URLPattern | URLResolver]) -> bool:
    return any(
        isinstance(each, URLResolver) and (each.app_name == RECEIVER_APP or _includes_receiver(each.url_patterns))
        for each in patterns
    )


@register(TAG)
def check_throttle_storage(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """E011 where the storage of the request budget cannot be opened; W002 where workers would not share it."""
    try:
        storage = settings.throttle_storage
    except SettingError:
        return []
    try:
        open_storage(storage)
    except ConfigurationError as error:
        return [Error(f'POLAR_SYNC["THROTTLE_STORAGE"]: {error}', id=UNUSABLE_STORAGE)]
    if not storage.startswith("memory:") or not has_workers():
        return []
    return [
        Warning(
            'POLAR_SYNC["THROTTLE_STORAGE"] is memory://, which each process counts for itself, but Celery has a '
            "broker: two worker processes would ask Polar twice as often as the budget allows.",
            hint='Use a Redis that all processes reach, such as "redis://127.0.0.1:6379/0". With one worker process '
            "of threads only, silence this check.",
            id=UNSHARED_STORAGE,
        )
    ]


@register(TAG)
def check_database(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """E012 on anything but SQLite and PostgreSQL; W003 on a SQLite whose transactions begin without the write lock."""
    alias = router.db_for_write(installed_apps.get_model("polar_sync", "Customer"))
    connection = connections[alias]
    if connection.vendor not in SUPPORTED_DATABASES:
        return [
            Error(
                f'The database "{alias}" ({connection.vendor}) cannot hold the mirror; PostgreSQL and SQLite can. '
                "MySQL and MariaDB have no unique constraint with a condition: nothing would keep two runs of an "
                "organization from being active at once.",
                hint="A database router can send the app polar_sync alone to another database.",
                id=UNSUPPORTED_DATABASE,
            )
        ]
    mode = str(connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") or "")
    if connection.vendor != "sqlite" or mode.upper() in {"IMMEDIATE", "EXCLUSIVE"}:
        return []
    return [
        Warning(
            f'The database "{alias}" is SQLite with deferred transactions: where two workers write at once, one fails '
            'with "database is locked".',
            hint=f'Set DATABASES["{alias}"]["OPTIONS"] = {{"transaction_mode": "IMMEDIATE", "timeout": 30}}.',
            id=DEFERRED_TRANSACTIONS,
        )
    ]


@register(TAG, deploy=True)
def check_connections(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """W005 in production on PostgreSQL where each request makes a connection of its own."""
    alias = router.db_for_read(installed_apps.get_model("polar_sync", "Customer"))
    connection = connections[alias]
    database = connection.settings_dict
    is_kept = database["CONN_MAX_AGE"] != 0 or bool(database.get("OPTIONS", {}).get("pool"))
    if connection.vendor != "postgresql" or is_kept:
        return []
    return [
        Warning(
            f'Each request connects to the database "{alias}" anew, which takes longer than to answer it.',
            hint=f'Set DATABASES["{alias}"]["CONN_MAX_AGE"] = 60 and ["CONN_HEALTH_CHECKS"] = True; under ASGI '
            '["OPTIONS"]["pool"] = True instead.',
            id=UNKEPT_CONNECTIONS,
        )
    ]


@register(TAG)
def check_times(app_configs: Apps, **options: object) -> list[CheckMessage]:
    """E013 where Django would store times without their time zone."""
    if django_settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is False, and Polar's times are instants: without their time zone they could not be compared.",
            hint="Set USE_TZ = True; TIME_ZONE may be any.",
            id=NAIVE_TIMES,
        )
    ]
