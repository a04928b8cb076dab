"""The settings as they are looked at: with tokens that cannot be shown, so that no error report has them."""

from __future__ import annotations

from collections.abc import Mapping

from polar_sync.tokens import Token

ORGANIZATIONS = "ORGANIZATIONS"
ACCESS_TOKEN = "ACCESS_TOKEN"  # noqa: S105 - the name of a setting


def mask_settings(given: object) -> object:
    """A copy of `POLAR_SYNC` in which each organization's `ACCESS_TOKEN` is a `Token`.

    One that is no text becomes its type, which is all that messages say of it. What has not the shape of settings
    stays as it is.
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
    return {key: _mask_token(value) if key == ACCESS_TOKEN else value for key, value in given.items()}


def _mask_token(value: object) -> object:
    if isinstance(value, str | Token):
        return Token(value)
    return value if value is None else type(value)
