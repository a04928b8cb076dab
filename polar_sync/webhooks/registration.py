"""The webhook endpoint of an organization on Polar: found, created, corrected, and tried with a delivery of our own."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import requests

from polar_sync.client import PolarClient, PolarObject
from polar_sync.client.errors import UNUSABLE_ADDRESS, describe_failure
from polar_sync.client.parameters import WEBHOOK_ENDPOINTS, format_instant
from polar_sync.client.responses import is_success
from polar_sync.client.sessions import build_user_agent
from polar_sync.client.webhooks import RAW
from polar_sync.conf import OrganizationSettings
from polar_sync.exceptions import ConfigurationError, OrganizationMismatchError, UnreadableAnswerError, ValidationError
from polar_sync.payloads.values import read_uuid
from polar_sync.sync.events import EVENTS
from polar_sync.tokens import Token
from polar_sync.webhooks.signatures import get_time, sign

TEST_EVENT = "polar_sync.test"
"""The type of a delivery that this app sends to itself."""
TIMEOUT = 10.0
"""Seconds that Polar waits for an answer."""
_LONGEST_URL = 2048
_WHERE_SECRET = "Polar shows the secret in the organization's settings, under Webhooks"  # noqa: S105 - a sentence


class ProblemKind(enum.Enum):
    """In which ways an endpoint can be other than this app needs it."""

    ABSENT = enum.auto()
    SEVERAL = enum.auto()
    DISABLED = enum.auto()
    MISSING_EVENTS = enum.auto()
    WRONG_FORMAT = enum.auto()
    NO_SECRET = enum.auto()
    OTHER_SECRET = enum.auto()
    OTHER_ID = enum.auto()


CORRECTABLE = frozenset({ProblemKind.DISABLED, ProblemKind.MISSING_EVENTS, ProblemKind.WRONG_FORMAT})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One of them; `text` says it in words, without a secret."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What matters of an endpoint of Polar's; `secret` is None where Polar does not tell it."""

    id: UUID
    url: str
    format: str
    events: tuple[str, ...]
    is_enabled: bool
    secret: Token | None


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How an endpoint was found or left: `problems` are still there, `corrected` are not any more.

    `endpoint` is None where there is none and none was to be made.
    """

    endpoint: Endpoint | None
    problems: tuple[Problem, ...]
    corrected: tuple[Problem, ...] = ()
    is_created: bool = False


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """What came of a delivery: the HTTP status, None where there was no answer, and what is wrong, "" for nothing."""

    status: int | None
    seconds: float
    problem: str


def check_url(url: str) -> str:
    """Return an address that Polar can send to; anything else raises `ConfigurationError`."""
    if _normalize_url(url) is None:
        raise ConfigurationError(
            "--url takes the whole address of the receiver, such as https://example.com/polar/webhooks/default/, "
            "without user, password and fragment."
        )
    return url


def inspect_endpoint(organization: OrganizationSettings, url: str, client: PolarClient) -> Registration:
    """Say how the endpoint with this URL is; writes nothing. Needs `webhooks:read`."""
    found = _find_endpoints(organization, url, client)
    if not found:
        absent = Problem(kind=ProblemKind.ABSENT, text="no endpoint with this URL on Polar")
        return Registration(endpoint=None, problems=(absent,))
    endpoint = _choose_endpoint(found, organization)
    return Registration(endpoint=endpoint, problems=(*_find_duplicates(found), *find_problems(endpoint, organization)))


def register_endpoint(organization: OrganizationSettings, url: str, client: PolarClient) -> Registration:
    """Create the endpoint with this URL, or correct what is wrong with it. Needs `webhooks:write` as well.

    Events that somebody chose beside those of `EVENTS` stay. Raises what the client does, and
    `OrganizationMismatchError` where the token creates endpoints of another organization than the settings name.
    """
    before = inspect_endpoint(organization, url, client)
    if before.endpoint is None:
        return Registration(endpoint=_create(organization, url, client), problems=(), is_created=True)
    kinds = {problem.kind for problem in before.problems} & CORRECTABLE
    if not kinds:
        return before
    events = before.endpoint.events
    updated = client.webhook_endpoints.update(
        before.endpoint.id,
        events=[*events, *_list_missing(events)] if ProblemKind.MISSING_EVENTS in kinds else None,
        format=RAW if ProblemKind.WRONG_FORMAT in kinds else None,
        enabled=True if ProblemKind.DISABLED in kinds else None,
    )
    after = _require_endpoint(updated, method="PATCH")
    left = {problem.kind for problem in find_problems(after, organization)}
    return Registration(
        endpoint=after,
        problems=tuple(each for each in before.problems if each.kind not in kinds or each.kind in left),
        corrected=tuple(each for each in before.problems if each.kind in kinds and each.kind not in left),
    )


def find_problems(endpoint: Endpoint, organization: OrganizationSettings) -> Iterator[Problem]:
    """What is wrong with an endpoint of this organization, as far as it can be told without a delivery."""
    if not endpoint.is_enabled:
        yield Problem(
            kind=ProblemKind.DISABLED,
            text="disabled, and Polar makes no events meanwhile; run `manage.py polar_sync` for what changed",
        )
    missing = _list_missing(endpoint.events)
    if missing:
        yield Problem(kind=ProblemKind.MISSING_EVENTS, text=f"events missing: {', '.join(missing)}")
    if endpoint.format != RAW:
        yield Problem(kind=ProblemKind.WRONG_FORMAT, text=f'format "{endpoint.format}" instead of "{RAW}"')
    yield from _find_setting_problems(endpoint, organization)


def choose_secret(endpoint: Endpoint | None, organization: OrganizationSettings) -> Token | None:
    """The configured secret that Polar signs with, as far as it can be told, else the first; None where there is none.

    They are compared in constant time.
    """
    secrets = organization.webhook_secrets
    used = [secret for secret in secrets if endpoint is not None and secret == endpoint.secret]
    return next(iter([*used, *secrets]), None)


def send_test_delivery(url: str, *, secret: Token) -> DeliveryResult:
    """Send a signed delivery of the type `TEST_EVENT` to an endpoint's URL, as Polar would; follows no redirect."""
    now = get_time()
    body = json.dumps({"type": TEST_EVENT, "timestamp": format_instant(now), "data": {}}).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": build_user_agent(),
        **sign(body, message_id=str(uuid4()), signed_at=now.astimezone(UTC), secret=secret),
    }
    started = time.monotonic()
    status: int | None = None
    try:
        with requests.post(
            url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
        ) as response:
            status = response.status_code
    except UNUSABLE_ADDRESS:
        problem = "this address cannot be used"
    except (requests.RequestException, OSError) as error:
        problem = describe_failure(error, connect_timeout=TIMEOUT, read_timeout=TIMEOUT)
    else:
        problem = _explain_status(status)
    return DeliveryResult(status=status, seconds=time.monotonic() - started, problem=problem)


def _find_endpoints(organization: OrganizationSettings, url: str, client: PolarClient) -> list[Endpoint]:
    wanted = _normalize_url(url)
    endpoints = map(_read_endpoint, _iterate_endpoints(organization, client))
    return [each for each in endpoints if each is not None and _normalize_url(each.url) == wanted]


def _iterate_endpoints(organization: OrganizationSettings, client: PolarClient) -> Iterator[Any]:
    page = 1
    while True:
        found = client.webhook_endpoints.list(organization_id=organization.organization_id, page=page)
        yield from found.items
        if not found.items or page >= found.max_page:
            return
        page += 1


def _choose_endpoint(found: list[Endpoint], organization: OrganizationSettings) -> Endpoint:
    """Of several with one URL the configured one, else one that works."""

    def rank(endpoint: Endpoint) -> tuple[bool, bool, bool]:
        is_known = endpoint.secret in organization.webhook_secrets
        return endpoint.id == organization.webhook_endpoint_id, endpoint.is_enabled, is_known

    return max(found, key=rank)


def _find_duplicates(found: list[Endpoint]) -> Iterator[Problem]:
    if len(found) > 1:
        ids = ", ".join(str(each.id) for each in found)
        text = (
            f"{len(found)} endpoints with this URL, each of which sends every event; delete all but one on Polar: {ids}"
        )
        yield Problem(kind=ProblemKind.SEVERAL, text=text)


def _find_setting_problems(endpoint: Endpoint, organization: OrganizationSettings) -> Iterator[Problem]:
    secrets = organization.webhook_secrets
    if not secrets:
        text = f"no WEBHOOK_SECRETS, so that no delivery is taken; {_WHERE_SECRET}"
        yield Problem(kind=ProblemKind.NO_SECRET, text=text)
    elif endpoint.secret is not None and endpoint.secret not in secrets:
        text = f"signed with none of WEBHOOK_SECRETS, so that no delivery is taken; {_WHERE_SECRET}"
        yield Problem(kind=ProblemKind.OTHER_SECRET, text=text)
    expected = organization.webhook_endpoint_id
    if expected is not None and expected != endpoint.id:
        text = f"WEBHOOK_ENDPOINT_ID is {expected}, and the endpoint with this URL is {endpoint.id}"
        yield Problem(kind=ProblemKind.OTHER_ID, text=text)


def _list_missing(events: Iterable[str]) -> list[str]:
    given = set(events)
    return [event for event in EVENTS if event not in given]


def _create(organization: OrganizationSettings, url: str, client: PolarClient) -> Endpoint:
    wanted = organization.organization_id
    created = _create_for(wanted, url, client)
    endpoint, owner = _require_endpoint(created, method="POST"), read_uuid(created.get("organization_id"))
    if wanted is not None and owner not in {None, wanted}:
        client.webhook_endpoints.delete(endpoint.id)
        raise OrganizationMismatchError(
            f"The token of {organization.name!r} made an endpoint of the Polar organization {owner}, not of {wanted}. "
            "It was deleted again. Check the token and ORGANIZATION_ID."
        )
    return endpoint


def _create_for(organization_id: UUID | None, url: str, client: PolarClient) -> PolarObject:
    try:
        return client.webhook_endpoints.create(url=url, events=EVENTS, organization_id=organization_id)
    except ValidationError as error:
        # With an organization's own token Polar refuses to be told which one it is.
        is_about_organization = any("organization_id" in (each.get("loc") or ()) for each in error.fields)
        if organization_id is None or not is_about_organization:
            raise
    return client.webhook_endpoints.create(url=url, events=EVENTS)


def _require_endpoint(answer: PolarObject, *, method: str) -> Endpoint:
    endpoint = _read_endpoint(answer)
    if endpoint is None:
        raise UnreadableAnswerError(
            "Polar answered with a webhook endpoint that has no id or no URL.",
            method=method,
            path=WEBHOOK_ENDPOINTS,
            interval=answer.interval,
        )
    return endpoint


def _read_endpoint(item: Any) -> Endpoint | None:
    if not isinstance(item, dict):
        return None
    endpoint_id, url, events, secret = (
        read_uuid(item.get("id")),
        item.get("url"),
        item.get("events"),
        item.get("secret"),
    )
    if endpoint_id is None or not isinstance(url, str):
        return None
    return Endpoint(
        id=endpoint_id,
        url=url,
        format=_read_name(item.get("format")) or "unknown",
        events=tuple(filter(None, map(_read_name, events))) if isinstance(events, list) else (),
        is_enabled=item.get("enabled") is not False,
        secret=secret if isinstance(secret, Token) else None,
    )


def _read_name(value: Any) -> str | None:
    """A name that can be printed anywhere."""
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else None


def _normalize_url(url: str) -> tuple[str, str, int | None, str, str] | None:
    """What two addresses have in common that lead to the same place; None for what is no address of a receiver."""
    if not 0 < len(url) <= _LONGEST_URL or not all("!" <= each <= "~" for each in url) or "#" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        return None
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, port or default, parts.path or "/", parts.query


def _explain_status(status: int) -> str:
    """What is wrong with an answer; "" for a success."""
    if is_success(status):
        return ""
    match status:
        case 400 | 401 | 403:
            return (
                "the receiver refuses it: its WEBHOOK_SECRETS are others, its clock is off, or something before it asks"
            )
        case 404:
            return "nothing receives at this URL, or not for this organization"
        case _ if status // 100 == 3:  # noqa: PLR2004
            return "it is redirected, which Polar does not follow; register the address that it leads to"
        case _:
            return "Polar takes this for a failure"
