"""The settings of the REST API: defaults, what is allowed, and errors that say so."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from polar_sync.conf import SettingError
from polar_sync.conf import settings as polar_settings


def test_defaults(settings: Settings) -> None:
    settings.POLAR_SYNC = {}
    assert polar_settings.write_through is False
    assert polar_settings.rest_permission_classes == ("rest_framework.permissions.IsAdminUser",)
    assert polar_settings.rest_authentication_classes[0] == "polar_sync.rest.authentication.BearerAuthentication"
    assert polar_settings.rest_throttle_classes == ()
    assert dict(polar_settings.rest_throttle_rates) == {"read": None, "write": "60/min", "portal": "60/min"}
    assert polar_settings.rest_organization_resolver is polar_settings.customer_resolver is None
    assert polar_settings.rest_count_seconds == 10


def test_rates_that_are_not_given_keep_their_default(settings: Settings) -> None:
    settings.POLAR_SYNC = {"REST_THROTTLE_RATES": {"read": "5/s", "portal": None}}
    assert dict(polar_settings.rest_throttle_rates) == {"read": "5/s", "write": "60/min", "portal": None}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("WRITE_THROUGH", 1, "True or False"),
        ("WRITE_THROUGH", "yes", "True or False"),
        ("REST_PERMISSION_CLASSES", "rest_framework.permissions.IsAdminUser", "a list of dotted paths"),
        ("REST_PERMISSION_CLASSES", [object], "a list of dotted paths"),
        ("REST_AUTHENTICATION_CLASSES", ["no-path"], "a list of dotted paths"),
        ("REST_THROTTLE_CLASSES", ["a..b"], "a list of dotted paths"),
        ("REST_THROTTLE_RATES", [], "a dict"),
        ("REST_THROTTLE_RATES", {"reads": "5/s"}, 'did you mean "read"'),
        ("REST_THROTTLE_RATES", {"read": "often"}, "a rate"),
        ("REST_THROTTLE_RATES", {"read": "0/min"}, "a rate"),
        ("CUSTOMER_RESOLVER", "resolve", "the dotted path of a function"),
        ("REST_ORGANIZATION_RESOLVER", print, "the dotted path of a function"),
        ("REST_COUNT_SECONDS", -1, "a whole number"),
    ],
)
def test_wrong_value_is_told_of(settings: Settings, key: str, value: object, told: str) -> None:
    settings.POLAR_SYNC = {key: value}
    with pytest.raises(SettingError) as caught:
        getattr(polar_settings, key.lower())
    assert f'POLAR_SYNC["{key}"]' in str(caught.value)
    assert told in str(caught.value)
