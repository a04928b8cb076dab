"""Bearer tokens of organizations and of customer sessions, shared by all organizations of one fake server.

The kinds and scopes are those of https://polar.sh/docs/integrate/authentication.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from polar_sync.testing.http import Route, refuse_scope, refuse_token, refuse_unauthorized

ORGANIZATION_SCOPES = (
    "customers:read",
    "customers:write",
    "customer_sessions:write",
    "subscriptions:read",
    "benefits:read",
    "customer_meters:read",
    "meters:read",
    "products:read",
    "organizations:read",
    "webhooks:read",
    "webhooks:write",
)
SESSION_SCOPES = ("customer_portal:read", "customer_portal:write")


@dataclass(slots=True)
class Token:
    """What a bearer token stands for; `customer_id` is set for a customer session only."""

    value: str = field(repr=False)
    organization_id: str
    scopes: frozenset[str]
    customer_id: str | None = None
    expires_at: datetime | None = None
    is_revoked: bool = False

    def is_valid(self, *, now: datetime) -> bool:
        """Neither revoked nor expired at `now`."""
        return not self.is_revoked and (self.expires_at is None or now < self.expires_at)


class TokenRegistry:
    """All tokens that were ever made, the revoked ones too: they still say whose they were."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    def add(
        self,
        value: str,
        *,
        organization_id: str,
        scopes: Iterable[str],
        customer_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> Token:
        """Make `value` a token; one that exists already is replaced."""
        token = Token(value, organization_id, frozenset(scopes), customer_id, expires_at)
        self._tokens[value] = token
        return token

    def revoke(self, value: str) -> None:
        """From now on `value` is answered with 401; an unknown token raises `KeyError`."""
        if value not in self._tokens:
            raise KeyError("there is no such token to revoke")
        self._tokens[value].is_revoked = True

    def revoke_sessions(self, customer_id: str) -> None:
        """End the portal sessions of a customer, as deleting the customer does."""
        for token in self._tokens.values():
            if token.customer_id == customer_id:
                token.is_revoked = True

    def find(self, authorization: str | None) -> Token | None:
        """The token in an `Authorization` header, valid or not; None where it is unknown or missing."""
        bearer = read_bearer(authorization)
        return self._tokens.get(bearer) if bearer else None


def read_bearer(authorization: str | None) -> str | None:
    """The token in an `Authorization` header; None where there is no bearer token."""
    scheme, _, value = (authorization or "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def authorize(token: Token | None, *, authorization: str | None, route: Route, now: datetime) -> Token:
    """Check `token` against what `route` asks for and give it back; raises the 401 or 403 that Polar answers."""
    if read_bearer(authorization) is None:
        raise refuse_unauthorized()
    if token is None or not token.is_valid(now=now):
        raise refuse_token()
    if route.is_portal != (token.customer_id is not None):
        raise refuse_unauthorized()
    if token.scopes.isdisjoint(route.scopes):
        raise refuse_scope(route.scopes)
    return token
