"""How often one caller may come, by `REST_THROTTLE_RATES`. Name those that you want in `REST_THROTTLE_CLASSES`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from polar_sync.conf import settings

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
        user = request.user
        ident = f"user {user.pk}" if user.is_authenticated else self.get_ident(request)
        # What a proxy passes on may be as long and as odd as somebody likes.
        return f"polar_sync:throttle:{self.scope}:{hashlib.sha256(ident.encode()).hexdigest()}"

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
        """All other methods."""
        return request.method not in SAFE_METHODS


class PortalThrottle(PolarThrottle):
    """The customer portal, always: anybody can make up session tokens, and each costs a request to Polar."""

    scope = "portal"
