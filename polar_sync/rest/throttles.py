"""How often one caller may come, by `REST_THROTTLE_RATES`. Name those that you want in `REST_THROTTLE_CLASSES`."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from polar_sync.conf import settings
from polar_sync.rest.authentication import SessionToken
from polar_sync.rest.portal import is_confirmed

if TYPE_CHECKING:
    from rest_framework.views import APIView


class PolarThrottle(SimpleRateThrottle):
    """Counts a signed-in user's requests, else those of an address, in Django's default cache."""

    def get_rate(self) -> str | None:
        """The rate of this scope, None for no limit."""
        return settings.rest_throttle_rates[str(self.scope)]

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """One counter a caller; None where this kind of request is not counted."""
        if not self.is_counted(request):
            return None
        ident = self.get_ident(request)
        # What a proxy passes on may be as long and as odd as somebody likes.
        return f"polar_sync:throttle:{self.scope}:{hashlib.sha256(ident.encode()).hexdigest()}"

    def get_ident(self, request: Request) -> str:
        """The signed-in user, else the address: of the connection, or behind `NUM_PROXIES` what they say.

        Django REST framework's own default is to believe `X-Forwarded-For`, in which anybody can write anything.
        """
        if request.user.is_authenticated:
            return f"user {request.user.pk}"
        if api_settings.NUM_PROXIES is None:
            return get_network(request.META.get("REMOTE_ADDR") or "")
        return get_network(super().get_ident(request))

    def is_counted(self, request: Request) -> bool:
        """Whether this throttle is about such a request."""
        return True


class ReadThrottle(PolarThrottle):
    """Reads: without limit unless `REST_THROTTLE_RATES["read"]` sets one."""

    scope = "read"

    def is_counted(self, request: Request) -> bool:
        """GET, HEAD and OPTIONS."""
        return request.method in SAFE_METHODS


class WriteThrottle(PolarThrottle):
    """Whatever asks Polar or starts work: writes through, refreshes, runs."""

    scope = "write"

    def is_counted(self, request: Request) -> bool:
        return request.method not in SAFE_METHODS


class PortalThrottle(PolarThrottle):
    """The customer portal, always: anybody can make up session tokens, and each costs a request to Polar."""

    scope = "portal"

    def get_ident(self, request: Request) -> str:
        """A session token that Polar has confirmed lately is counted by itself: no flood of others shuts it out."""
        token = request.auth
        if isinstance(token, SessionToken) and is_confirmed(token):
            return f"token {token.get_key()}"
        return super().get_ident(request)


def get_network(address: str) -> str:
    """What one caller has of addresses: of IPv6 the first half, as everybody can choose the other."""
    try:
        known = ipaddress.ip_address(address.strip())
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(known), 64), strict=False))
    return str(getattr(known, "ipv4_mapped", None) or known)
