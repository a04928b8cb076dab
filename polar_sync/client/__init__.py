"""Talks HTTP to Polar; knows nothing of Django."""

from __future__ import annotations

from polar_sync.client.answers import ListPage, PolarObject
from polar_sync.client.polar import PolarClient
from polar_sync.client.portal import PortalClient
from polar_sync.client.throttle import RequestBudget
from polar_sync.client.transport import Usage

__all__ = ["ListPage", "PolarClient", "PolarObject", "PortalClient", "RequestBudget", "Usage"]
