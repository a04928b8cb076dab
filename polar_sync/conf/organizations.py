"""The organizations of `POLAR_SYNC["ORGANIZATIONS"]`: name → token, server, Polar's id, budget, webhooks."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

from polar_sync.conf.errors import (
    NAME,
    Mistake,
    SettingError,
    describe_value,
    find_unknown_keys,
    name_nearest,
    show_key,
)
from polar_sync.conf.values import refuse
from polar_sync.tokens import Token

ORGANIZATION_KEYS = (
    "ACCESS_TOKEN",
    "SERVER",
    "ORGANIZATION_ID",
    "REQUESTS_PER_MINUTE",
    "WEBHOOK_SECRETS",
    "WEBHOOK_ENDPOINT_ID",
)
PATH = f'{NAME}["ORGANIZATIONS"]'
NAME_LENGTH = 200
# https://polar.sh/docs/api-reference/introduction#rate-limits
REQUESTS_PER_MINUTE = 500
SANDBOX_REQUESTS_PER_MINUTE = 100
MAXIMUM_REQUESTS_PER_MINUTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class OrganizationSettings:
    """One Polar organization, under the name that the settings give it.

    `server` is "production", "sandbox" or a base URL without a slash at its end. `organization_id` is the one Polar
    organization that the token is expected to show, None where any is right. `requests_per_minute` is the budget of
    all workers together; `shares_budget_of` names the first organization with the same token and server, as Polar
    counts them as one, None where there is no other. A delivery is taken that is signed with any of `webhook_secrets`;
    `webhook_endpoint_id` is Polar's id of the endpoint that they belong to, None where it is not known.
    """

    name: str
    access_token: Token
    server: str = "production"
    organization_id: uuid.UUID | None = None
    requests_per_minute: int = REQUESTS_PER_MINUTE
    shares_budget_of: str | None = None
    webhook_secrets: tuple[Token, ...] = ()
    webhook_endpoint_id: uuid.UUID | None = None

    @property
    def account(self) -> tuple[Token, str]:
        """What Polar counts the requests of."""
        return self.access_token, self.server


def read_organizations(path: str, value: object) -> Mapping[str, OrganizationSettings]:
    """All organizations in the order of the settings; raises the first `SettingError` there is."""
    for error in find_organization_errors(path, value):
        raise error
    given = cast("Mapping[str, Mapping[str, object]]", value)
    organizations = [make_organization(name, fields) for name, fields in given.items()]
    accounts: defaultdict[tuple[Token, str], list[OrganizationSettings]] = defaultdict(list)
    for organization in organizations:
        accounts[organization.account].append(organization)
    return MappingProxyType({each.name: share_budget(each, among=accounts[each.account]) for each in organizations})


def share_budget(organization: OrganizationSettings, *, among: Sequence[OrganizationSettings]) -> OrganizationSettings:
    """The organization with the budget that all of one account have: the first one's, with the smallest number."""
    if len(among) == 1:
        return organization
    smallest = min(each.requests_per_minute for each in among)
    return replace(organization, shares_budget_of=among[0].name, requests_per_minute=smallest)


def find_organization_errors(path: str, value: object) -> Iterator[SettingError]:
    """Every mistake in the given organizations."""
    if not isinstance(value, Mapping):
        yield refuse(path, value, allowed="a dict of organizations: name → settings")
        return
    seen: list[OrganizationSettings] = []
    for name, given in value.items():
        errors = list(find_errors_of_one(name, given))
        yield from errors
        if errors:
            continue
        organization = make_organization(name, given)
        same = next((each for each in seen if is_mirrored_twice(each, organization)), None)
        if same is not None:
            yield SettingError(
                f'{path} has the same token and server under "{same.name}" and "{name}"; remove one of them, or it is '
                "mirrored twice. A token that sees several organizations needs an ORGANIZATION_ID of its own for each.",
                mistake=Mistake.SAME_TOKEN,
            )
        seen.append(organization)


def is_mirrored_twice(one: OrganizationSettings, other: OrganizationSettings) -> bool:
    """Whether two organizations of the settings can be the same on Polar."""
    ids = {one.organization_id, other.organization_id}
    return one.account == other.account and (len(ids) == 1 or None in ids)


def find_errors_of_one(name: object, given: object) -> Iterator[SettingError]:
    """Every mistake in one organization's settings."""
    path = f"{PATH}[{show_key(name)}]"
    if not isinstance(name, str) or not name.isprintable() or name != name.strip() or not 0 < len(name) <= NAME_LENGTH:
        yield SettingError(
            f"{PATH} has the name {show_key(name)}; a name must be a printable text of 1 to {NAME_LENGTH} characters "
            "without spaces around it.",
            mistake=Mistake.BAD_NAME,
        )
        return
    if not isinstance(given, Mapping):
        yield refuse(path, given, allowed='a dict with the key "ACCESS_TOKEN"')
        return
    yield from find_unknown_keys(given, path=path, known=ORGANIZATION_KEYS)
    readers = (
        read_token,
        read_server,
        read_organization_id,
        read_requests_per_minute,
        read_webhook_secrets,
        read_webhook_endpoint_id,
    )
    for reader in readers:
        try:
            reader(path, given)
        except SettingError as error:
            yield error.with_traceback(None)


def make_organization(name: str, given: Mapping[str, object]) -> OrganizationSettings:
    """The typed settings of one organization; raises `SettingError` where one is wrong."""
    path = f"{PATH}[{show_key(name)}]"
    return OrganizationSettings(
        name=name,
        access_token=read_token(path, given),
        server=read_server(path, given),
        organization_id=read_organization_id(path, given),
        requests_per_minute=read_requests_per_minute(path, given),
        webhook_secrets=read_webhook_secrets(path, given),
        webhook_endpoint_id=read_webhook_endpoint_id(path, given),
    )


def read_token(path: str, given: Mapping[str, object]) -> Token:
    """The access token: printable ASCII without spaces, as it goes into an HTTP header."""
    value = given.get("ACCESS_TOKEN")
    path = f'{path}["ACCESS_TOKEN"]'
    if isinstance(value, type):  # see `mask_settings`
        raise SettingError(f"{path} is of type {value.__name__}; it must be a text.", mistake=Mistake.UNREADABLE_TOKEN)
    if not isinstance(value, Token) or value.is_empty:
        raise SettingError(f"{path} is empty; it must be an access token of Polar.", mistake=Mistake.EMPTY_TOKEN)
    if not value.is_sendable:
        raise SettingError(
            f"{path} holds whitespace or characters that no access token has; copy it again.",
            mistake=Mistake.UNREADABLE_TOKEN,
        )
    return value


def read_server(path: str, given: Mapping[str, object]) -> str:
    """The server: one of Polar's by name, or the base URL of another, without the slash at its end."""
    value = given.get("SERVER", "production")
    if isinstance(value, str):
        if value in {"production", "sandbox"} or is_base_url(value):
            return value.rstrip("/")
        nearest = name_nearest(value, known=("production", "sandbox"))
    else:
        nearest = f" but {describe_value(value)}."
    raise SettingError(
        f'{path}["SERVER"] is not "production", "sandbox" or a base URL such as "http://127.0.0.1:8080" (without '
        f"user, query and fragment){nearest}",
        mistake=Mistake.BAD_SERVER,
    )


def is_base_url(value: str) -> bool:
    """Whether paths can be added to this to ask a server over HTTP."""
    if not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        has_readable_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    has_extras = "@" in parts.netloc or "?" in value or "#" in value
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_readable_port and not has_extras


def read_organization_id(path: str, given: Mapping[str, object]) -> uuid.UUID | None:
    """Polar's id of the organization, a UUID or its text; None and "" mean that none is expected."""
    path = f'{path}["ORGANIZATION_ID"]'
    return read_id(path, given.get("ORGANIZATION_ID"), of="organization", mistake=Mistake.BAD_ORGANIZATION_ID)


def read_id(path: str, value: object, *, of: str, mistake: Mistake) -> uuid.UUID | None:
    """An id of Polar's."""
    if value is None or value == "":
        return None
    if isinstance(value, uuid.UUID):
        return value
    try:
        if isinstance(value, str):
            return uuid.UUID(value)
    except ValueError:
        # Told below, without the value: a token may have been put here.
        pass
    raise SettingError(f"{path} is no UUID; it must be the id that Polar shows for the {of}, or None.", mistake=mistake)


def read_requests_per_minute(path: str, given: Mapping[str, object]) -> int:
    """The request budget: an int is a number of requests, a float over 0 and up to 1 a share of Polar's limit."""
    limit = SANDBOX_REQUESTS_PER_MINUTE if given.get("SERVER") == "sandbox" else REQUESTS_PER_MINUTE
    value = given.get("REQUESTS_PER_MINUTE")
    if value is None:
        return limit
    if isinstance(value, float) and 0 < value <= 1:
        return max(1, int(limit * value))
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAXIMUM_REQUESTS_PER_MINUTE:
        return value
    raise SettingError(
        f'{path}["REQUESTS_PER_MINUTE"] is {describe_value(value)}; it must be a whole number from 1 to '
        f"{MAXIMUM_REQUESTS_PER_MINUTE}, or a share of Polar's limit: a float over 0.0 and up to 1.0.",
        mistake=Mistake.BAD_REQUESTS_PER_MINUTE,
    )


def read_webhook_secrets(path: str, given: Mapping[str, object]) -> tuple[Token, ...]:
    """The secrets of the webhook endpoint: printable ASCII without spaces, as Polar makes them; () where none is given.

    An empty one is an error: anybody could sign with it.
    """
    value = given.get("WEBHOOK_SECRETS")
    path = f'{path}["WEBHOOK_SECRETS"]'
    if value is None:
        return ()
    if not isinstance(value, list):
        return (read_webhook_secret(path, value),)
    return tuple(read_webhook_secret(f"{path}[{index}]", each) for index, each in enumerate(value))


def read_webhook_secret(path: str, value: object) -> Token:
    """One of them."""
    if isinstance(value, type):  # see `mask_settings`
        raise SettingError(
            f"{path} is of type {value.__name__}; it must be a text, or a list of texts.",
            mistake=Mistake.UNREADABLE_WEBHOOK_SECRET,
        )
    if not isinstance(value, Token) or value.is_empty:
        raise SettingError(
            f"{path} is empty; it must be the secret that Polar shows for the webhook endpoint. "
            "Leave the key out where there is none.",
            mistake=Mistake.EMPTY_WEBHOOK_SECRET,
        )
    if not value.is_sendable:
        raise SettingError(
            f"{path} holds whitespace or characters that no secret of Polar has; copy it again. "
            "Several secrets are given as a list.",
            mistake=Mistake.UNREADABLE_WEBHOOK_SECRET,
        )
    return value


def read_webhook_endpoint_id(path: str, given: Mapping[str, object]) -> uuid.UUID | None:
    """Polar's id of the webhook endpoint, a UUID or its text; None and "" mean that it is not known."""
    path = f'{path}["WEBHOOK_ENDPOINT_ID"]'
    return read_id(path, given.get("WEBHOOK_ENDPOINT_ID"), of="webhook endpoint", mistake=Mistake.WRONG_VALUE)
