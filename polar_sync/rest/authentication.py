"""Who asks: a bearer token of this site's, or of a customer's session on Polar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import AnonymousUser
from django.utils.crypto import salted_hmac
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from polar_sync.rest.authorization import find_token
from polar_sync.tokens import Token

SESSION_PREFIX = "polar_cst_"
ORGANIZATION_PREFIX = "polar_oat_"
_MAX_LENGTH = 512


def read_bearer(request: Request) -> str | None:
    """The token behind `Authorization: Bearer`; None where the header is absent or says something else."""
    words = get_authorization_header(request).split()
    if not words or words[0].lower() != b"bearer":
        return None
    token = words[1].decode("latin-1") if len(words) == 2 else ""  # noqa: PLR2004 - the scheme and the token
    if not token.isascii() or not token.isprintable() or not 0 < len(token) <= _MAX_LENGTH:
        raise AuthenticationFailed
    return token


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer` with a token of django-rest-knox, which keeps only its hash.

    Needs `knox` in INSTALLED_APPS; without it no token is right. https://jazzband.github.io/django-rest-knox/
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The token's user and the token; None where none was shown."""
        token = read_bearer(request)
        if token is None:
            return None
        if not apps.is_installed("knox"):
            raise AuthenticationFailed
        # Its hashes and models need the app to be installed.
        from knox.crypto import hash_token  # noqa: PLC0415

        get_permissions = getattr((request.parser_context or {}).get("view"), "get_required_permissions", tuple)
        shown = find_token(hash_token(token), get_permissions())
        if shown is None:
            raise AuthenticationFailed
        return shown.user, shown

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return "Bearer"


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A customer session token, as it was shown; only Polar can tell whether it is right."""

    value: Token

    def get_key(self) -> str:
        """What stands for it in the cache: nobody can tell the token from it, or find one that gives it."""
        return salted_hmac("polar_sync.rest.portal", self.value.get_digest(), algorithm="sha256").hexdigest()


class PortalSessionAuthentication(BaseAuthentication):
    """A customer session token of Polar's, for the customer portal alone.

    https://polar.sh/docs/api-reference/customer-portal/sessions/create
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, SessionToken] | None:
        """Nobody of this site's, with the token. Polar's organization tokens are refused, as Polar does here."""
        token = read_bearer(request) or ""
        if token.startswith(ORGANIZATION_PREFIX):
            raise NotAuthenticated
        return (AnonymousUser(), SessionToken(Token(token))) if token.startswith(SESSION_PREFIX) else None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return "Bearer"
