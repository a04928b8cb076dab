"""The one object through which this package reads `POLAR_SYNC`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar, overload

from django.conf import settings as django_settings

from polar_sync.conf.errors import (
    NAME,
    Mistake,
    SettingError,
    describe_value,
    find_unknown_keys,
    name_nearest,
    show_key,
)
from polar_sync.conf.organizations import (
    PATH,
    OrganizationSettings,
    find_organization_errors,
    read_organizations,
)
from polar_sync.conf.values import (
    read_choice,
    read_duration,
    read_flag,
    read_float,
    read_int,
    read_name,
    read_names,
    read_rates,
    read_share,
    read_storage,
)
from polar_sync.exceptions import ConfigurationError
from polar_sync.tokens import Token

ORGANIZATIONS = "ORGANIZATIONS"
ACCESS_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - the name of a setting
WEBHOOK_SECRETS = "WEBHOOK_SECRETS"
T = TypeVar("T")


def mask_settings(given: object) -> object:
    """A copy of `POLAR_SYNC` in which each `ACCESS_TOKEN` and each of the `WEBHOOK_SECRETS` is a `Token`.

    One that is no text becomes its type, which is all that messages say of it. Several secrets become a list. What has
    not the shape of settings stays as it is.
    """
    if not isinstance(given, Mapping):
        return given
    return {key: _mask_organizations(value) if key == ORGANIZATIONS else value for key, value in given.items()}


def _mask_organizations(given: object) -> object:
    if not isinstance(given, Mapping):
        return given
    return {name: _mask_organization(value) for name, value in given.items()}


def _mask_organization(given: object) -> object:
    if not isinstance(given, Mapping):
        return given
    masks = {ACCESS_TOKEN: _mask_token, WEBHOOK_SECRETS: _mask_tokens}
    return {key: masks[key](value) if key in masks else value for key, value in given.items()}


def _mask_tokens(value: object) -> object:
    return [_mask_token(each) for each in value] if isinstance(value, list | tuple) else _mask_token(value)


def _mask_token(value: object) -> object:
    if isinstance(value, str | Token):
        return Token(value)
    return value if value is None else type(value)


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One key of `POLAR_SYNC`; `read` makes the typed value of the given one, or raises `SettingError`."""

    key: str
    default: object
    read: Callable[[str, object], T]

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: PolarSyncSettings, owner: type) -> T: ...
    def __get__(self, instance: PolarSyncSettings | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        outcome = self._read_given()
        if isinstance(outcome, SettingError):
            raise outcome
        return outcome

    def _read_given(self) -> T | SettingError:
        """The typed value, or the error to raise.

        Returned, because a traceback shows what the functions in it were given: settings, misplaced tokens included.
        """
        try:
            given = read_given()
            for error in find_unknown_keys(given, path=NAME, known=get_known_keys()):
                return error
            return self.read(self.path, self.pick(given))
        except SettingError as error:
            return error.with_traceback(None)

    @property
    def path(self) -> str:
        """How messages name this setting."""
        return f'{NAME}["{self.key}"]'

    def pick(self, given: Mapping[str, object]) -> object:
        """The untyped value of this key."""
        return given.get(self.key, self.default)


class PolarSyncSettings:
    """`POLAR_SYNC`, typed.

    Every access reads the Django settings as they are now, and raises `SettingError` where they are wrong.
    """

    #: Name → OrganizationSettings; empty where nothing is to be mirrored yet.
    organizations = Setting(ORGANIZATIONS, {}, read_organizations)
    #: Threads that fetch the states of one page.
    concurrency = Setting("CONCURRENCY", 4, read_int(minimum=1, maximum=64))
    #: Where states come from: "batched" lists of many customers, the "per_customer" state endpoint, or "auto".
    state_source = Setting("STATE_SOURCE", "auto", read_choice("auto", "batched", "per_customer"))
    #: Celery messages that work on one run at the same time.
    workers = Setting("WORKERS", 4, read_int(minimum=1, maximum=1000))
    #: Where the request budget is counted: "memory://" for one process, "redis://…" for many.
    throttle_storage = Setting("THROTTLE_STORAGE", "memory://", read_storage)
    #: A run in which more than this share of the mirrored customers is missing marks nobody deleted.
    mass_deletion_share = Setting("MASS_DELETION_SHARE", 0.2, read_share)
    #: Seconds after which the page of a worker that says nothing more is given to another.
    lease_seconds = Setting("LEASE_SECONDS", 60, read_int(minimum=5, maximum=86_400))
    #: A run that was abandoned is continued up to this age, and closed as failed after.
    run_max_age = Setting("RUN_MAX_AGE_HOURS", 24, read_duration(timedelta(hours=1), unit_name="hours"))
    #: Seconds to wait for a connection to Polar.
    connect_timeout = Setting("CONNECT_TIMEOUT", 5.0, read_float(above=0, maximum=600))
    #: Seconds to wait for Polar's answer, and between its parts.
    read_timeout = Setting("READ_TIMEOUT", 30.0, read_float(above=0, maximum=600))
    #: What `polar_sync_prune` does with customers who were deleted on Polar: "keep", "scrub" or "delete".
    deleted_customers = Setting("DELETED_CUSTOMERS", "keep", read_choice("keep", "scrub", "delete"))
    #: How long ago they must have been deleted for that.
    deleted_customers_after = Setting(
        "DELETED_CUSTOMERS_AFTER_DAYS",
        30,
        read_duration(timedelta(days=1), unit_name="days", allow_zero=True),
    )
    #: How long `polar_sync_prune` keeps the records of finished runs.
    keep_runs = Setting("KEEP_RUNS_DAYS", 90, read_duration(timedelta(days=1), unit_name="days", allow_zero=True))
    #: How long `polar_sync_prune` keeps the daily statistics.
    keep_statistics = Setting(
        "KEEP_STATISTICS_DAYS", 400, read_duration(timedelta(days=1), unit_name="days", allow_zero=True)
    )
    #: How old or how far ahead the time of a webhook delivery's signature may be.
    webhook_tolerance = Setting(
        "WEBHOOK_TOLERANCE_SECONDS", 300, read_duration(timedelta(seconds=1), unit_name="seconds")
    )
    #: Bytes that the body of a webhook delivery may have.
    webhook_max_body_bytes = Setting(
        "WEBHOOK_MAX_BODY_BYTES", 1024 * 1024, read_int(minimum=1024, maximum=64 * 1024 * 1024)
    )
    #: Seconds that Polar's queue is given to attempt a delivery: `told_until` is so much before the last finished
    #: window of its list of deliveries began.
    settle_seconds = Setting("SETTLE_SECONDS", 300, read_int(minimum=0, maximum=86_400))
    #: How long `polar_sync_prune` keeps webhook deliveries; Polar keeps its own list of them for 90 days.
    keep_deliveries = Setting(
        "KEEP_DELIVERIES_DAYS", 90, read_duration(timedelta(days=1), unit_name="days", allow_zero=True)
    )
    #: Whether the app may enable a webhook endpoint again that Polar has disabled after failed deliveries.
    enable_webhook_endpoint = Setting("ENABLE_WEBHOOK_ENDPOINT", False, read_flag)
    #: Whether the REST API passes creating, changing and deleting customers on to Polar.
    write_through = Setting("WRITE_THROUGH", False, read_flag)
    #: How callers of the REST API say who they are.
    rest_authentication_classes = Setting(
        "REST_AUTHENTICATION_CLASSES",
        (
            "polar_sync.rest.authentication.BearerAuthentication",
            "rest_framework.authentication.SessionAuthentication",
        ),
        read_names,
    )
    #: Who may come at all; Django's permissions are asked for beside these, whatever they are.
    rest_permission_classes = Setting(
        "REST_PERMISSION_CLASSES", ("rest_framework.permissions.IsAdminUser",), read_names
    )
    #: How often they may come.
    rest_throttle_classes = Setting("REST_THROTTLE_CLASSES", (), read_names)
    #: The rates of the throttle classes of this package.
    rest_throttle_rates = Setting("REST_THROTTLE_RATES", {}, read_rates)
    #: A function from a request to the names of the organizations that it may read, None for all.
    rest_organization_resolver = Setting("REST_ORGANIZATION_RESOLVER", None, read_name)
    #: A function from a signed-in user to the customer linked to them, or None.
    customer_resolver = Setting("CUSTOMER_RESOLVER", None, read_name)
    #: Seconds for which the number of customers in a list of more than 10,000 may be out of date.
    rest_count_seconds = Setting("REST_COUNT_SECONDS", 10, read_int(minimum=0, maximum=86_400))

    def get_organization(self, name: str) -> OrganizationSettings:
        """The organization of that name; `SettingError` names the nearest known one where there is none."""
        organizations = self.organizations
        if name in organizations:
            return organizations[name]
        hint = name_nearest(name, known=organizations) if organizations else "; it is empty."
        raise SettingError(f"{PATH} has no organization {show_key(name)}{hint}", mistake=Mistake.UNKNOWN_ORGANIZATION)

    def choose_organizations(self, name: str | None) -> list[OrganizationSettings]:
        """The one of that name, or (None) all. Raises `ConfigurationError` where there is none."""
        if name is not None:
            return [self.get_organization(name)]
        if not self.organizations:
            raise ConfigurationError(f"{PATH} is empty: name an organization and its ACCESS_TOKEN.")
        return list(self.organizations.values())

    def find_errors(self) -> Iterator[SettingError]:
        """Every mistake in `POLAR_SYNC`, where an access raises only the first that concerns it."""
        try:
            given = read_given()
        except SettingError as error:
            yield error.with_traceback(None)
            return
        yield from find_unknown_keys(given, path=NAME, known=get_known_keys())
        for setting in get_all_settings():
            if setting is PolarSyncSettings.organizations:
                yield from find_organization_errors(setting.path, setting.pick(given))
                continue
            try:
                setting.read(setting.path, setting.pick(given))
            except SettingError as error:
                yield error.with_traceback(None)


def read_given() -> Mapping[str, object]:
    """`POLAR_SYNC` as it stands in the Django settings now, with masked tokens."""
    given = mask_settings(getattr(django_settings, NAME, None))
    if isinstance(given, Mapping):
        return given
    state = "missing" if given is None else describe_value(given)
    raise SettingError(
        f'The setting {NAME} is {state}; it must be a dict with the key "ORGANIZATIONS".',
        mistake=Mistake.MISSING,
    )


def get_all_settings() -> list[Setting[object]]:
    """The keys that `POLAR_SYNC` can have, in the order in which they are documented."""
    return [value for value in vars(PolarSyncSettings).values() if isinstance(value, Setting)]


def get_known_keys() -> list[str]:
    """Their names."""
    return [setting.key for setting in get_all_settings()]


settings = PolarSyncSettings()
